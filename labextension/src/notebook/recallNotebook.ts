import type { ICellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';

import { RecallClient } from './recallClient';
import { KernelRecall } from './recallKernel';

/** A notebook, with whatever kernel it has. */
export class Recall implements IDisposable {
  /**
   * @param context - The notebook.
   * @param settings - Where the server is.
   */
  constructor(
    private readonly context: NotebookPanel['context'],
    private readonly settings: ServerConnection.ISettings,
  ) {
    context.sessionContext.kernelChanged.connect(this.attach);
    this.attach();
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    this.present?.dispose();
    this.context.sessionContext.kernelChanged.disconnect(this.attach);
  }

  /** The user has cleared the outputs of a cell: nothing of it is wanted back. */
  cleared(cell: ICellModel): void {
    this.present?.cleared(cell);
  }

  private readonly attach = (): void => {
    this.present?.dispose();
    this.present = null;
    const { session } = this.context.sessionContext;
    if (session?.kernel) {
      const { id, kernel } = session;
      const client = new RecallClient(kernel.id, id, this.settings);
      this.present = new KernelRecall(this.context, kernel, client);
    }
  };

  private present: KernelRecall | null = null;
  private disposed = false;
}
