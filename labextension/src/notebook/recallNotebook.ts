import type { NotebookPanel } from '@jupyterlab/notebook';
import {
  type Kernel,
  KernelMessage,
  type ServerConnection,
  type Session,
} from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';

import { RecallClient } from './recallClient';
import { Follower } from './recallFollow';
import { keyOf } from './recallKey';

type Context = NotebookPanel['context'];

/** A notebook with its present kernel: tells the server what is run, and shows what was run. */
export class Recall implements IDisposable {
  /**
   * @param context - The notebook.
   * @param settings - Where the server is.
   */
  constructor(
    private readonly context: Context,
    private readonly settings: ServerConnection.ISettings,
  ) {
    context.sessionContext.kernelChanged.connect(this.onKernel);
    context.saveState.connect(this.onSave);
    this.attach(context.sessionContext.session);
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    this.attach(null);
    this.context.sessionContext.kernelChanged.disconnect(this.onKernel);
    this.context.saveState.disconnect(this.onSave);
  }

  /** The user has cleared the outputs of a cell: nothing of it is wanted back. */
  cleared(cell: string): void {
    const own = [...this.own].filter(([, place]) => place === cell);
    const recalled = this.follower?.of(cell) ?? [];
    this.follower?.leave(cell);
    this.forget([...recalled, ...own.map(([execution]) => execution)]);
  }

  private attach(session: Session.ISessionConnection | null): void {
    const kernel = session?.kernel ?? null;
    this.follower?.end();
    this.kernel?.anyMessage.disconnect(this.onMessage);
    this.kernel?.iopubMessage.disconnect(this.onOutput);
    this.own.clear();
    this.complete.clear();
    this.kernel = kernel;
    this.client = this.follower = null;
    if (session !== null && kernel !== null) {
      kernel.anyMessage.connect(this.onMessage);
      kernel.iopubMessage.connect(this.onOutput);
      void this.begin(new RecallClient(kernel.id, session.id, this.settings));
    }
  }

  private async begin(client: RecallClient): Promise<void> {
    this.client = client;
    void client.keep();
    await this.context.ready;
    if (this.client !== client) {
      return;
    }
    const follower = new Follower(client, this.context.model);
    follower.finished.connect((_, execution) => {
      this.complete.add(execution);
    });
    for (const cell of this.own.values()) {
      follower.leave(cell);
    }
    this.follower = follower;
    await follower.run();
  }

  private readonly onKernel = (): void => {
    this.attach(this.context.sessionContext.session);
  };

  private readonly onMessage = (
    _: Kernel.IKernelConnection,
    { msg, direction }: Kernel.IAnyMessageArgs,
  ): void => {
    const cell: unknown = msg.metadata.cellId;
    if (
      direction === 'send' &&
      msg.header.msg_type === 'execute_request' &&
      typeof cell === 'string'
    ) {
      const { code } =
        msg.content as KernelMessage.IExecuteRequestMsg['content'];
      const key = keyOf(this.context.model, cell, code);
      this.own.set(msg.header.msg_id, cell);
      this.follower?.leave(cell);
      this.untold.push([msg.header.msg_id, key]);
      // Cells that are run together are told of together.
      queueMicrotask(() => {
        this.tell();
      });
    }
  };

  private readonly onOutput = (
    _: Kernel.IKernelConnection,
    msg: KernelMessage.IIOPubMessage,
  ): void => {
    if (
      KernelMessage.isStatusMsg(msg) &&
      msg.content.execution_state === 'idle' &&
      'msg_id' in msg.parent_header &&
      this.own.has(msg.parent_header.msg_id)
    ) {
      this.complete.add(msg.parent_header.msg_id);
    }
  };

  private readonly onSave = (
    _: Context,
    state: 'started' | 'failed' | 'completed',
  ): void => {
    if (state === 'started') {
      // What ends later may be missing in the file.
      this.saving = [...this.complete];
    } else if (state === 'completed') {
      this.forget(this.saving);
    }
  };

  private tell(): void {
    const told = this.untold.splice(0);
    if (told.length > 0) {
      void this.client?.tell(told);
    }
  }

  private forget(executions: readonly string[]): void {
    for (const each of executions) {
      if (this.complete.delete(each)) {
        this.own.delete(each);
      }
    }
    if (executions.length > 0) {
      void this.client?.forget(executions);
    }
  }

  private client: RecallClient | null = null;
  private kernel: Kernel.IKernelConnection | null = null;
  private follower: Follower | null = null;
  /** Executions of this page, and their cells. */
  private readonly own = new Map<string, string>();
  /** Executions of which the notebook shows all. */
  private readonly complete = new Set<string>();
  private readonly untold: [string, string][] = [];
  private saving: readonly string[] = [];
  private disposed = false;
}
