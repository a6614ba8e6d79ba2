import type { NotebookPanel } from '@jupyterlab/notebook';

import { specOf } from '../engine/names';
import type { IModel } from '../engine/wire';
import { insertCell } from '../notebook/insertCell';

/** What the files of models say that turn texts into vectors. */
const ENCODERS = /bert|mpnet/i;

/** A cell that asks this model something, and that runs as it is. */
export function cellFor(model: IModel): string {
  const name = quoted(specOf(model));
  if (ENCODERS.test(model.architecture ?? '')) {
    return [
      '%%lua',
      `local vectors = LocalLLM.embed({"a boat", "a ship"}, ${name})`,
      'return {count = #vectors, numbers_each = #vectors[1]}',
    ].join('\n');
  }
  const steps = [
    `model(${name})`,
    'system_prompt("You are a helpful assistant.")',
    'max_tokens(200)',
    'build()',
  ];
  return [
    '%%lua',
    'local agent = Agent.builder()',
    ...steps.map((step) => `  :${step}`),
    'agent:invokeStream("Write two sentences about the sea.", function(chunk) io.write(chunk.text) end)',
  ].join('\n');
}

/** A text as Lua writes it: nothing in it ends the string. */
function quoted(text: string): string {
  const inside = text.replace(
    // eslint-disable-next-line no-control-regex -- these are what has to be written otherwise
    /["\\\u0000-\u001f\u007f]/g,
    (mark) => `\\${String(mark.charCodeAt(0)).padStart(3, '0')}`,
  );
  return `"${inside}"`;
}

/** Put a cell for this model below the active one, and the extension's line where it is missing. */
export function insertInto(panel: NotebookPanel, model: IModel): void {
  insertCell(panel, cellFor(model));
}
