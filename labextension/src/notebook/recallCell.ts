import { CodeCellModel, type ICodeCellModel } from '@jupyterlab/cells';
import type { IOutput, IStream } from '@jupyterlab/nbformat';
import { JSONExt, type ReadonlyPartialJSONValue } from '@lumino/coreutils';

import type { IRecord } from './recallClient';

type Area = ICodeCellModel['outputs'];

/** Shows one recorded execution in its cell, again and again while it grows. */
export class RecalledCell {
  /**
   * @param model - The cell.
   * @param id - The execution.
   */
  constructor(
    readonly model: ICodeCellModel,
    readonly id: string,
  ) {
    this.cell = model.id;
  }

  /** The cell's id in this page. */
  readonly cell: string;

  /** Show that the kernel has yet to begin, if it is at work; otherwise it never will. */
  wait(busy: boolean): void {
    if (!busy) {
      this.release();
    } else if (!this.marked) {
      this.marked = true;
      this.model.executionState = 'running';
    }
  }

  /**
   * Show what the execution has put out, and whether it is over.
   *
   * @param record - The execution.
   * @param code - What was run.
   * @returns False if the cell holds other code, and therefore was left alone.
   */
  show(record: IRecord, code: string): boolean {
    const { model } = this;
    if (this.shown !== null) {
      change(model.outputs, this.shown, record.outputs);
    } else if (model.sharedModel.getSource() !== code) {
      this.release();
      return false;
    } else if (record.state !== 'over' || !agrees(model, record.outputs)) {
      model.clearExecution();
      model.outputs.fromJSON([...record.outputs]);
    }
    this.shown = record.outputs;
    if (record.state === 'over') {
      this.marked = false;
      restore(model, record);
    } else {
      this.marked = true;
      model.executionState = 'running';
    }
    return true;
  }

  /** Show no longer that it runs. */
  release(): void {
    if (this.marked && !this.model.isDisposed) {
      this.marked = false;
      this.model.executionState = 'idle';
    }
  }

  private shown: readonly IOutput[] | null = null;
  private marked = false;
}

/**
 * Make a cell show just what an execution that is over has put out.
 *
 * @returns Whether its outputs were so already.
 */
export function restore(model: ICodeCellModel, record: IRecord): boolean {
  const agreed = agrees(model, record.outputs);
  if (!agreed) {
    model.trusted = true;
    model.outputs.fromJSON([...record.outputs]);
  }
  if (model.executionState !== 'idle') {
    model.executionState = 'idle';
  }
  if (model.executionCount !== record.count) {
    model.executionCount = record.count;
  }
  return agreed;
}

/** Whether a cell shows these outputs, as outputs look once they are shown. */
function agrees(model: ICodeCellModel, outputs: readonly IOutput[]): boolean {
  const factory = CodeCellModel.defaultContentFactory;
  const wanted = factory.createOutputArea({
    trusted: model.trusted,
    values: [...outputs],
  });
  const same = equal(model.outputs.toJSON(), wanted.toJSON());
  wanted.dispose();
  return same;
}

/** Bring outputs from one state to a later one, with as little drawing as possible. */
function change(
  area: Area,
  from: readonly IOutput[],
  to: readonly IOutput[],
): void {
  const grows = to.length >= from.length && area.length === from.length;
  const steps = grows ? to.map((output, i) => step(from, i, output)) : [null];
  if (steps.includes(null)) {
    area.fromJSON([...to]);
    return;
  }
  for (const each of steps) {
    each?.(area);
  }
}

/** How to bring one output to its later state; null if all have to be drawn anew. */
function step(
  from: readonly IOutput[],
  index: number,
  output: IOutput,
): ((area: Area) => void) | null {
  const before = from[index];
  if (before === undefined) {
    return (area) => area.add(output);
  }
  if (equal(before, output)) {
    return () => undefined;
  }
  if (!isStream(before) && !isStream(output)) {
    return (area) => {
      area.set(index, output);
    };
  }
  // Added as the kernel's own messages are: what returns and backspaces do is known only there.
  const more = isStream(before) && isStream(output) && rest(before, output);
  return more !== false && index === from.length - 1
    ? (area) => area.add({ ...output, text: more })
    : null;
}

/** What a stream has that it had not before; false if it is not the same stream. */
function rest(before: IStream, now: IStream): string | false {
  const [old, text] = [String(before.text), String(now.text)];
  return before.name === now.name && text.startsWith(old)
    ? text.slice(old.length)
    : false;
}

function isStream(output: IOutput): output is IStream {
  return output.output_type === 'stream';
}

function equal(one: unknown, other: unknown): boolean {
  return JSONExt.deepEqual(
    one as ReadonlyPartialJSONValue,
    other as ReadonlyPartialJSONValue,
  );
}
