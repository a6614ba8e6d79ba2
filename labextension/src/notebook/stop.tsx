import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import {
  ITranslator,
  nullTranslator,
  type TranslationBundle,
} from '@jupyterlab/translation';
import {
  ReactWidget,
  stopIcon,
  ToolbarButtonComponent,
} from '@jupyterlab/ui-components';
import { DisposableSet, type IDisposable } from '@lumino/disposable';
import * as React from 'react';

import { isOfCell, jobsOf } from '../engine/owners';
import { IEngine } from '../engine/plugin';
import type { IJob } from '../engine/wire';

const STOP = 'llmspell:stop';

/** Cells that end sooner are no reason to ask the engine, in ms. */
const SHORT = 400;

export const stop: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:stop',
  description:
    'Ends what the engine does for a notebook, also when the kernel is deaf.',
  autoStart: true,
  requires: [IEngine, INotebookTracker],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    engine: IEngine,
    notebooks: INotebookTracker,
    palette: ICommandPalette | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    app.docRegistry.addWidgetExtension('Notebook', {
      createNew: (panel) =>
        panel instanceof NotebookPanel
          ? new StopExtension(panel, engine, trans)
          : undefined,
    });
    app.commands.addCommand(STOP, {
      label: trans.__('Stop the models of this notebook'),
      icon: stopIcon,
      isEnabled: () => cellJobs(engine, notebooks.currentWidget).length > 0,
      execute: () => stopAll(engine, notebooks.currentWidget),
    });
    engine.watch.changed.connect(() => {
      app.commands.notifyCommandChanged(STOP);
    });
    palette?.addItem({ command: STOP, category: trans.__('LLMSpell') });
  },
};

/** What cells of a notebook wait for, in the engine. */
function cellJobs(
  engine: IEngine,
  panel: NotebookPanel | null,
): readonly IJob[] {
  const kernel = panel?.sessionContext.session?.kernel?.id;
  return kernel ? jobsOf(engine.watch.status, kernel).filter(isOfCell) : [];
}

async function stopAll(
  engine: IEngine,
  panel: NotebookPanel | null,
): Promise<void> {
  await Promise.all(
    cellJobs(engine, panel).map((job) => engine.actions.stop(job.id)),
  );
}

/** A notebook's button and its interest in the engine. */
class StopExtension extends DisposableSet {
  private _timer = 0;
  private _expecting: IDisposable | null = null;

  constructor(
    private readonly panel: NotebookPanel,
    private readonly engine: IEngine,
    trans: TranslationBundle,
  ) {
    super();
    const button = new StopButton(panel, engine, trans);
    // Before the empty part: when it goes, no other button comes under the mouse.
    if (!panel.toolbar.insertBefore('spacer', 'llmspell-stop', button)) {
      panel.toolbar.addItem('llmspell-stop', button);
    }
    this.add(button);
    panel.sessionContext.statusChanged.connect(this._onStatus);
    panel.disposed.connect(() => {
      this.dispose();
    });
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.panel.sessionContext.statusChanged.disconnect(this._onStatus);
      this._rest();
      super.dispose();
    }
  }

  /** A cell that runs for a while may be waiting for the engine. */
  private readonly _onStatus = (_: unknown, status: string): void => {
    if (status === 'busy') {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => {
        this._expecting ??= this.engine.watch.expect();
      }, SHORT);
    } else {
      this._rest();
    }
  };

  private _rest(): void {
    window.clearTimeout(this._timer);
    this._expecting?.dispose();
    this._expecting = null;
  }
}

/** Shown while the engine works for the notebook. */
class StopButton extends ReactWidget {
  constructor(
    private readonly panel: NotebookPanel,
    private readonly engine: IEngine,
    private readonly trans: TranslationBundle,
  ) {
    super();
    this.addClass('llmspell-stop');
    this.hide();
    engine.watch.changed.connect(this._look);
    engine.actions.changed.connect(this._look);
  }

  override dispose(): void {
    this.engine.watch.changed.disconnect(this._look);
    this.engine.actions.changed.disconnect(this._look);
    super.dispose();
  }

  protected override render(): React.JSX.Element {
    const jobs = cellJobs(this.engine, this.panel);
    return (
      <ToolbarButtonComponent
        icon={stopIcon}
        label={this.trans.__('Stop model')}
        tooltip={this.trans.__(
          'End what the engine does for this notebook, even if the kernel does not listen',
        )}
        enabled={!jobs.every((job) => this.engine.actions.isPending(job.id))}
        onClick={() => void stopAll(this.engine, this.panel)}
      />
    );
  }

  private readonly _look = (): void => {
    const works = cellJobs(this.engine, this.panel).length > 0;
    this.setHidden(!works);
    if (works) {
      this.update();
    }
  };
}
