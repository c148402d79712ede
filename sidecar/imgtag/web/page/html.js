// Preact with tagged templates instead of JSX, so that nothing has to be built. Values are put in as text and as
// attributes, never as markup: keys, labels and EXIF are the words of strangers.

import { h } from './vendor/preact.js';
import htm from './vendor/htm.js';

export { render } from './vendor/preact.js';
export {
  useCallback, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState,
} from './vendor/hooks.js';

export const html = htm.bind(h);
