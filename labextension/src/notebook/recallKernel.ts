import type { ICellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { type Kernel, KernelAPI, KernelMessage } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';

import type { RecallClient } from './recallClient';
import { Follower, type IManner } from './recallFollow';
import { keyOf } from './recallKey';
import { Ledger } from './recallLedger';

type Context = NotebookPanel['context'];

/** A notebook with one kernel: tells the server what is run, and shows what was run. */
export class KernelRecall implements IDisposable {
  /**
   * @param context - The notebook.
   * @param kernel - Its kernel.
   * @param client - What the server keeps of the kernel for the notebook.
   */
  constructor(
    private readonly context: Context,
    private readonly kernel: Kernel.IKernelConnection,
    private readonly client: RecallClient,
  ) {
    kernel.anyMessage.connect(this.onMessage);
    kernel.iopubMessage.connect(this.onOutput);
    kernel.connectionStatusChanged.connect(this.onConnection);
    context.saveState.connect(this.onSave);
    void this.begin();
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    this.follower?.end();
    this.mender?.end();
    this.kernel.anyMessage.disconnect(this.onMessage);
    this.kernel.iopubMessage.disconnect(this.onOutput);
    this.kernel.connectionStatusChanged.disconnect(this.onConnection);
    this.context.saveState.disconnect(this.onSave);
  }

  /** The user has cleared the outputs of a cell: nothing of it is wanted back. */
  cleared({ id, sharedModel }: ICellModel): void {
    const source = sharedModel.getSource();
    this.leave(id);
    this.ledger.leave(id);
    this.unwanted.push(keyOf(this.context.model, id, source));
    // Cells that are cleared together are told of together.
    queueMicrotask(() => {
      const cells = this.unwanted.splice(0);
      if (cells.length > 0) {
        this.clearing = this.client.clear(cells);
      }
    });
  }

  /** Show what was run by pages that are gone. */
  private async begin(): Promise<void> {
    void this.client.keep();
    await this.context.ready;
    const { collaborative } = this.context.model;
    const isShared = collaborative && (await hasOthers(this.kernel));
    if (!this.disposed) {
      this.follower = this.follow(isShared ? { settled: pause } : {});
      for (const cell of this.ledger.cells) {
        this.follower.leave(cell);
      }
    }
  }

  /** Put right what the page itself has run, where something was lost on the way. */
  private async mend(): Promise<void> {
    await this.tell();
    this.mender?.end();
    const own = this.ledger.doubtful;
    if (own.size > 0 && !this.disposed) {
      this.mender = this.follow({
        own,
        settled: async () => hasCome(this.kernel),
      });
    }
  }

  private follow(manner: IManner): Follower {
    const follower = new Follower(this.client, this.context.model, manner);
    follower.finished.connect((_, execution) => {
      this.ledger.show(execution);
    });
    void follower.run();
    return follower;
  }

  private leave(cell: string): void {
    this.follower?.leave(cell);
    this.mender?.leave(cell);
  }

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
      this.ledger.begin(msg.header.msg_id, cell);
      this.leave(cell);
      this.untold.push([msg.header.msg_id, key]);
      // Cells that are run together are told of together.
      queueMicrotask(() => {
        void this.tell();
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
      'msg_id' in msg.parent_header
    ) {
      this.ledger.end(msg.parent_header.msg_id);
    }
  };

  private readonly onConnection = (
    _: Kernel.IKernelConnection,
    status: Kernel.ConnectionStatus,
  ): void => {
    if (status === 'connected') {
      void this.mend();
    } else {
      this.ledger.doubt();
    }
  };

  private readonly onSave = (
    _: Context,
    state: 'started' | 'failed' | 'completed',
  ): void => {
    if (state === 'started') {
      // What ends later may be missing in the file.
      this.saving = [...this.ledger.whole];
    } else if (state === 'completed') {
      this.forget(this.saving);
    }
  };

  /** Tell the server what it does not know yet; what does not reach it is told later. */
  private async tell(): Promise<void> {
    // What is cleared is what was run before.
    await this.clearing;
    const told = this.untold.splice(0);
    if (told.length > 0 && !(await this.client.tell(told))) {
      this.untold.unshift(...told);
    }
  }

  private forget(executions: readonly string[]): void {
    this.ledger.forget(executions);
    if (executions.length > 0) {
      void this.client.forget(executions);
    }
  }

  private readonly ledger = new Ledger();
  private follower: Follower | null = null;
  private mender: Follower | null = null;
  private readonly untold: [string, string][] = [];
  private readonly unwanted: string[] = [];
  private clearing: Promise<boolean> | null = null;
  private saving: readonly string[] = [];
  private disposed = false;
}

/** Between 1 and 3 seconds, lest all pages that share a notebook write at the same time. */
const LEAST_PAUSE_MILLISECONDS = 1000;
const MORE_PAUSE_MILLISECONDS = 2000;

/** Leave the pages that share a notebook time to agree on it. */
async function pause(): Promise<boolean> {
  const time =
    LEAST_PAUSE_MILLISECONDS + Math.random() * MORE_PAUSE_MILLISECONDS;
  await new Promise((resolve) => {
    setTimeout(resolve, time);
  });
  return true;
}

/** Whether a kernel may have other pages, once it has this one. */
async function hasOthers(kernel: Kernel.IKernelConnection): Promise<boolean> {
  if (kernel.connectionStatus !== 'connected') {
    await new Promise<void>((resolve) => {
      const onStatus = (_: unknown, status: Kernel.ConnectionStatus): void => {
        if (status === 'connected') {
          kernel.connectionStatusChanged.disconnect(onStatus);
          resolve();
        }
      };
      kernel.connectionStatusChanged.connect(onStatus);
    });
  }
  try {
    const { id, serverSettings } = kernel;
    const model = await KernelAPI.getKernelModel(id, serverSettings);
    return model?.connections !== 1;
  } catch {
    return true;
  }
}

/**
 * Wait until all that a kernel has said so far has come, or else never will.
 *
 * @returns False if the kernel is not there.
 */
async function hasCome(kernel: Kernel.IKernelConnection): Promise<boolean> {
  const { clientId: session, username } = kernel;
  const channel = 'control';
  const asked = KernelMessage.createMessage({
    msgType: 'kernel_info_request' as 'debug_request',
    channel,
    session,
    username,
    content: {} as KernelMessage.IDebugRequestMsg['content'],
  });
  try {
    // Either answer comes after all that was said before. A kernel at work gives only the first,
    // and some kernels give only the second.
    await Promise.race([
      kernel.sendControlMessage(asked, true).done,
      kernel.requestKernelInfo(),
    ]);
    return true;
  } catch {
    return false;
  }
}
