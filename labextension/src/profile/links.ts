/* The links of all notebooks, and the one of the notebook in front. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import {
  type INotebookTracker,
  NotebookActions,
  type NotebookPanel,
} from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';

import { ProfileLink } from './link';
import type { IFault } from './wire';

export class ProfileLinks {
  private readonly _links = new WeakMap<NotebookPanel, ProfileLink>();

  /** Sent when the link in front is another, or has changed. */
  readonly changed = new Signal<this, void>(this);

  /** Sent when a kernel refuses another profile. */
  readonly refused = new Signal<this, IFault>(this);

  constructor(
    private readonly notebooks: INotebookTracker,
    private readonly shell: JupyterFrontEnd.IShell,
  ) {
    notebooks.widgetAdded.connect((_, panel) => {
      this._add(panel);
    });
    notebooks.forEach((panel) => {
      this._add(panel);
    });
    const changed = (): void => {
      this.changed.emit();
    };
    notebooks.currentChanged.connect(changed);
    shell.currentChanged?.connect(changed);
    NotebookActions.executed.connect((_, { notebook }) => {
      const panel = notebooks.find(({ content }) => content === notebook);
      void (panel && this._links.get(panel)?.look());
    });
  }

  /** The link of the notebook in front; null where something else is. */
  get current(): ProfileLink | null {
    const panel = this.notebooks.currentWidget;
    return panel !== null && panel === this.shell.currentWidget
      ? (this._links.get(panel) ?? null)
      : null;
  }

  private _add(panel: NotebookPanel): void {
    const link = new ProfileLink(panel);
    this._links.set(panel, link);
    link.changed.connect(() => {
      this.changed.emit();
    });
    link.refused.connect((_, fault) => {
      this.refused.emit(fault);
    });
  }
}
