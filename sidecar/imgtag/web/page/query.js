// Edits to the text of a query. Only the server parses it; here it is enough to know where words and quotes end.

// A value as the query language takes it: quoted where it has other characters than words have. An underscore is quoted,
// too: outside of quotes it stands for a space.
export function quote(value) {
  return /^[\p{L}\p{N}][\p{L}\p{N}./+-]*$/u.test(value) && !/^(and|or|not)$/i.test(value)
    ? value
    : `"${value.replace(/["\\]/g, '\\$&')}"`;
}

export function term(field, value) {
  return `${field}:${quote(value)}`;
}

// A query for any of some values of a field.
export function anyOf(field, values) {
  const terms = values.map((value) => term(field, value));
  return terms.length === 1 ? terms[0] : `(${terms.join(' OR ')})`;
}

// The query that finds what both find.
export function both(query, more) {
  const text = query.trim();
  if (!text) return more;
  return `${/(^|\s|\))or($|\s|\()/i.test(withoutQuotes(text)) ? `(${text})` : text} ${more}`;
}

// The word that is being typed, at the end of the text: {start, text, negative}; null within a field or a number.
export function lastWord(text) {
  const opened = openQuote(text);
  const start = opened >= 0 ? opened : /[^\s()]*$/.exec(text).index;
  const raw = text.slice(start);
  const negative = opened < 0 && raw.startsWith('-');
  const word = opened >= 0 ? raw.slice(1) : raw.replace(/^-/, '');
  if (!word || (opened < 0 && /[:<>=@"*]/.test(word))) return null;
  return { start: negative ? start + 1 : start, text: word };
}

export function replaceLastWord(text, replacement) {
  const word = lastWord(text);
  return `${word ? text.slice(0, word.start) : text}${replacement} `;
}

// The query to show results for while the last word is still being typed.
export function whileTyping(text) {
  const word = lastWord(text);
  if (!word || openQuote(text) >= 0) return text;
  return /^[\p{L}\p{N}][\p{L}\p{N}_-]*$/u.test(word.text) && !/^(and|or|not)$/i.test(word.text) ? `${text}*` : text;
}

function withoutQuotes(text) {
  return text.replace(/"(\\.|[^"\\])*"?/g, '""');
}

// Where a quote begins that is not closed; -1 if there is none.
function openQuote(text) {
  const closed = text.replace(/"(\\["\\]|\\(?!["\\])|[^"\\])*"/g, (quoted) => ' '.repeat(quoted.length));
  return closed.indexOf('"');
}

// An argument as any POSIX shell reads it. A control character could act on a terminal, so it is written by its number.
export function shellQuote(argument) {
  if (/^[\w@%+=:,./-]+$/.test(argument)) return argument;
  if (!/[\u0000-\u001f\u007f-\u009f]/.test(argument)) return `'${argument.replace(/'/g, "'\\''")}'`;
  const bytes = [...new TextEncoder().encode(argument)];
  return `$'${bytes.map((byte) => (/[\w ./:=@%+,-]/.test(String.fromCharCode(byte)) && byte < 128
    ? String.fromCharCode(byte)
    : `\\x${byte.toString(16).padStart(2, '0')}`)).join('')}'`;
}
