import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { IStatusBar, TextItem } from '@jupyterlab/statusbar';
import {
  ITranslator,
  nullTranslator,
  type TranslationBundle,
} from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { plain } from '../engine/names';
import { IEngine } from '../engine/plugin';
import { rate, shown } from '../engine/text';
import type { StatusWatch } from '../engine/watch';
import type { IJob } from '../engine/wire';
import { OPEN_SIDEBAR } from '../sidebar/plugin';

export const engineStatus: JupyterFrontEndPlugin<void> = {
  id: 'llmspell-jupyter:engine-status',
  description: 'Says in the status bar what the engine does, and how fast.',
  autoStart: true,
  requires: [IEngine],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    engine: IEngine,
    bar: IStatusBar | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('llmspell_jupyter');
    bar?.registerStatusItem('llmspell-jupyter:engine-status', {
      align: 'left',
      rank: 90,
      item: new EngineItem(engine.watch, trans, () => {
        void app.commands.execute(OPEN_SIDEBAR);
      }),
    });
  },
};

/** The engine in some words; a press opens the sidebar. */
class EngineItem extends ReactWidget {
  constructor(
    private readonly watch: StatusWatch,
    private readonly trans: TranslationBundle,
    private readonly open: () => void,
  ) {
    super();
    this.addClass('llmspell-status');
    this.addClass('jp-mod-highlighted');
  }

  protected override render(): React.JSX.Element {
    return (
      <UseSignal signal={this.watch.changed}>
        {() => (
          <button
            type="button"
            className="llmspell-statusButton"
            title={this.trans.__('Show models and engine')}
            onClick={this.open}
          >
            <TextItem source={words(this.watch, this.trans)} />
          </button>
        )}
      </UseSignal>
    );
  }
}

/** What the engine does, in some words. */
function words(watch: StatusWatch, trans: TranslationBundle): string {
  const engine = watch.status?.engine;
  if (watch.fault !== null || watch.isSilent) {
    return trans.__('Engine: no answer');
  }
  if (!engine) {
    return trans.__('Engine: off');
  }
  const jobs = engine.jobs ?? [];
  const answers = jobs.filter((job) => job.tokens_per_second !== null);
  const [first] = answers.length ? answers : jobs;
  if (first === undefined) {
    return trans.__('Engine: idle');
  }
  if (answers.length) {
    const speed = answers.reduce(
      (sum, job) => sum + (job.tokens_per_second ?? 0),
      0,
    );
    const who =
      answers.length > 1
        ? trans._n('%1 answer', '%1 answers', answers.length, answers.length)
        : shown(plain(first.model), 30);
    return `${who} · ${trans.__('%1 tokens/s', rate(speed))}`;
  }
  const percent = first.progress?.percent;
  const how =
    percent === null || percent === undefined ? '' : ` ${String(percent)} %`;
  return `${shown(plain(first.model), 30)} · ${kind(first, trans)}${how}`;
}

function kind(job: IJob, trans: TranslationBundle): string {
  if (job.phase === 'loading' || job.kind === 'load') {
    return trans.__('loading');
  }
  switch (job.kind) {
    case 'pull':
      return trans.__('download');
    case 'verify':
      return trans.__('check');
    default:
      return trans.__('at work');
  }
}
