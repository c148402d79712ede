// Numbers, dates and names as people read them.

const numbers = new Intl.NumberFormat('en');
const days = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeZone: 'UTC' });
const moments = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' });
const months = new Intl.DateTimeFormat('en', { month: 'short', year: 'numeric', timeZone: 'UTC' });

export const count = (value) => numbers.format(value);
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const percent = (value) => `${Math.round(value * 100)} %`;

// Seconds since 1970; times are shown as UTC, as the query language reads dates.
export const day = (seconds) => days.format(new Date(seconds * 1000));
export const moment = (seconds) => `${moments.format(new Date(seconds * 1000))} UTC`;
// A month as documents have it, such as 2024-07.
export const month = (text) => months.format(new Date(`${text}-01T00:00:00Z`));

export function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [amount, unit] = [value, 0];
  while (amount >= 999.5 && unit < units.length - 1) [amount, unit] = [amount / 1000, unit + 1];
  return `${unit && amount < 9.95 ? amount.toFixed(1) : Math.round(amount)} ${units[unit]}`;
}

// How a label is displayed; most are displayed as they are called.
export const displayed = (names, label) => names?.[label] ?? label;

// The last part of a key.
export function nameOf(key) {
  return key.split('/').filter(Boolean).at(-1) ?? key;
}

export function place({ lat, lng }) {
  const latitude = `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? 'S' : 'N'}`;
  return `${latitude}, ${Math.abs(lng).toFixed(4)}° ${lng < 0 ? 'W' : 'E'}`;
}
