/* One notebook's line to its kernel; `magics/page.py` is at the other end. */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { INotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import { CommsOverSubshells, type Kernel } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import type { IFault, IProfile, IState } from './wire';

const TARGET = 'llmspell-jupyter';

/** Notebooks of which nothing says this are not asked. */
const OURS = /llmspell|^%%?lua\b/m;

const LOADED = "'llmspell_jupyter' in get_ipython().extension_manager.loaded";

/** Whether the kernel of a notebook has loaded the extension, and what is in force there. */
export class ProfileLink {
  private _comm: Kernel.IComm | null = null;
  // A kernel that goes before it has said a word leaves its question open for ever.
  private _asked: Kernel.IKernelConnection | null = null;
  private _state: IState | null = null;

  /** Sent whenever something of the below is another. */
  readonly changed = new Signal<this, void>(this);

  /** Sent when the kernel refuses another profile. */
  readonly refused = new Signal<this, IFault>(this);

  /** The profiles there are. */
  profiles: readonly IProfile[] = [];

  /** The profile that was asked for and is not yet in force. */
  wanted: string | null = null;

  constructor(private readonly panel: NotebookPanel) {
    const { sessionContext } = panel;
    sessionContext.kernelChanged.connect(this._onKernel);
    sessionContext.statusChanged.connect(this._onStatus);
    panel.disposed.connect(() => {
      this._drop();
      Signal.clearData(this);
    });
    void panel.revealed.then(() => this.look());
  }

  /** What is in force; null while the kernel has not loaded the extension. */
  get state(): IState | null {
    return this._state;
  }

  /** Take another profile; what comes of it is told by the signals. */
  use(name: string): void {
    if (this._comm) {
      this.wanted = name;
      this.changed.emit();
      this._comm.send({ use: name });
    }
  }

  /** Find out whether the extension is loaded by now. */
  async look(): Promise<void> {
    const kernel = this._kernel;
    if (
      !kernel?.handleComms ||
      this._comm ||
      this._asked === kernel ||
      !this._isOurs()
    ) {
      return;
    }
    this._asked = kernel;
    try {
      if (await isLoaded(kernel)) {
        this._open(kernel);
      }
    } catch {
      // A kernel that ends meanwhile has nothing to tell.
    } finally {
      if (this._asked === kernel) {
        this._asked = null;
      }
    }
  }

  private _isOurs(): boolean {
    const model: INotebookModel | null = this.panel.content.model;
    return Array.from(model?.cells ?? []).some((cell) =>
      OURS.test(cell.sharedModel.getSource()),
    );
  }

  private _open(kernel: Kernel.IKernelConnection): void {
    if (kernel.isDisposed || kernel !== this._kernel) {
      return;
    }
    const comm = kernel.createComm(TARGET);
    // The kernel changes its profile between cells, not beside one.
    comm.commsOverSubshells = CommsOverSubshells.Disabled;
    comm.onMsg = ({ content }) => {
      this._onTold(content.data as unknown as IState);
    };
    comm.onClose = () => {
      this._drop();
    };
    this._comm = comm;
    comm.open();
  }

  private get _kernel(): Kernel.IKernelConnection | null | undefined {
    return this.panel.sessionContext.session?.kernel;
  }

  private _onTold(told: IState): void {
    this._state = told;
    this.profiles = told.profiles ?? this.profiles;
    this.wanted = null;
    this.changed.emit();
    if (told.error) {
      this.refused.emit(told.error);
    }
  }

  private _drop(): void {
    if (this._comm) {
      this._comm.dispose();
      this._comm = null;
      this._state = null;
      this.wanted = null;
      this.changed.emit();
    }
  }

  private readonly _onKernel = (): void => {
    this._drop();
    void this.look();
  };

  private readonly _onStatus = (
    _: ISessionContext,
    status: Kernel.Status,
  ): void => {
    if (['restarting', 'autorestarting', 'dead'].includes(status)) {
      this._drop();
    }
  };
}

async function isLoaded(kernel: Kernel.IKernelConnection): Promise<boolean> {
  const { language_info } = await kernel.info;
  if (language_info.name !== 'python') {
    return false;
  }
  const future = kernel.requestExecute({
    code: '',
    silent: true,
    store_history: false,
    allow_stdin: false,
    user_expressions: { loaded: LOADED },
  });
  const { content } = await future.done;
  const { loaded } =
    (
      content as {
        user_expressions?: { loaded?: { data?: Record<string, unknown> } };
      }
    ).user_expressions ?? {};
  return loaded?.data?.['text/plain'] === 'True';
}
