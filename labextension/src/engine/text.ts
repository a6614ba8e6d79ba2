/** Foreign text as one short line: no control character, no mark that turns or hides text. */
export function shown(text: string, most = 200): string {
  const line = text
    .slice(0, 4 * most)
    .replace(/\s+/gu, ' ')
    .trim()
    .replace(/\p{C}/gu, '\ufffd');
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}

/** A number of bytes in powers of 1000: `98.4 MB`. */
export function size(count: number): string {
  let value = count;
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (value < 1000) {
      return `${value.toFixed(unit === 'B' ? 0 : 1)} ${unit}`;
    }
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** A time to wait: `5 s`, `12 min`, `1 h 20 min`. */
export function duration(seconds: number): string {
  if (seconds < 90) {
    return `${seconds.toFixed(0)} s`;
  }
  const minutes = Math.round(seconds / 60);
  return minutes < 90
    ? `${String(minutes)} min`
    : `${String(Math.floor(minutes / 60))} h ${String(minutes % 60)} min`;
}

/** A speed: `8.4`, `120`, `1,800`. */
export function rate(perSecond: number): string {
  return perSecond < 10
    ? perSecond.toFixed(1)
    : Math.round(perSecond).toLocaleString();
}
