import type { INotebookModel } from '@jupyterlab/notebook';

/**
 * By what a cell is known when its page is gone.
 *
 * It is the cell's id; but before format 4.5 files have no ids, and each page that opens one makes
 * up its own. There it is what was run, of which a checksum will do, since the code is compared
 * before anything is shown.
 *
 * @param notebook - The notebook.
 * @param id - The cell's id in this page.
 * @param code - What the cell holds.
 */
export function keyOf(
  notebook: INotebookModel,
  id: string,
  code: string,
): string {
  if (notebook.nbformatMinor >= 5) {
    return id;
  }
  let sum = 0;
  for (let i = 0; i < code.length; i++) {
    sum = (Math.imul(sum, 31) + code.charCodeAt(i)) | 0;
  }
  return ['code', code.length, sum].join(' ');
}
