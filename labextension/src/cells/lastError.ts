/* Where the last run of a Lua cell failed, as its saved output tells. */

import type { ICodeCellModel } from '@jupyterlab/cells';
import type { IError } from '@jupyterlab/nbformat';

/** A line of a cell, counted from 1, what it said when it failed, and what is wrong with it. */
export interface FailedLine {
  readonly line: number;
  readonly text: string;
  readonly message: string;
}

const PLACE = /^\w+: cell\[(\d+)\], line (\d+): (.*)$/s;
const SOURCE = /^→ +\d+ │ (.*)$/;

/** The line of this cell that its last run names, or null. */
export function lastError(model: ICodeCellModel): FailedLine | null {
  const { outputs } = model;
  for (let index = 0; index < outputs.length; index++) {
    const output = outputs.get(index);
    if (output.type !== 'error') {
      continue;
    }
    const { traceback } = output.toJSON() as IError;
    const place = PLACE.exec(traceback[0] ?? '');
    const source = traceback.map((each) => SOURCE.exec(each)).find(Boolean);
    // A function may have failed that another cell defines.
    if (place && source && Number(place[1]) === model.executionCount) {
      return {
        line: Number(place[2]),
        text: source[1] ?? '',
        message: place[3] ?? '',
      };
    }
  }
  return null;
}
