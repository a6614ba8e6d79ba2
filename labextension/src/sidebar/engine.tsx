import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Fault } from '../engine/fault';
import { shown, size } from '../engine/text';
import type { IEngineState, IStatus, IWorker } from '../engine/wire';
import { useDesk } from './desk';
import { Facts, Section } from './parts';

/** The engine: whether it runs, what it holds, and what computes. */
export function EngineSection(): React.JSX.Element {
  const { watch, trans } = useDesk();
  const { status, fault } = watch;
  const engine = status?.engine ?? null;
  const state = stateOf(status, fault, watch.isSilent, trans);
  return (
    <Section title={trans.__('Engine')}>
      <div className="llmspell-state">
        <span
          className={`llmspell-dot llmspell-mod-${state.look}`}
          aria-hidden="true"
        />
        <span className="llmspell-stateWord">{state.word}</span>
        <span className="llmspell-dim llmspell-end">{state.more}</span>
      </div>
      {state.why ? <p className="llmspell-note">{state.why}</p> : null}
      {status ? <Memory status={status} /> : null}
      {engine?.workers ? <Devices workers={engine.workers} /> : null}
      {(engine?.warnings ?? []).map((warning) => (
        <p className="llmspell-note llmspell-mod-warn" key={warning}>
          {shown(warning, 600)}
        </p>
      ))}
    </Section>
  );
}

interface IState {
  look: 'on' | 'off' | 'warn';
  word: string;
  more: string;
  why: string;
}

function stateOf(
  status: IStatus | null,
  fault: Fault | null,
  isSilent: boolean,
  trans: TranslationBundle,
): IState {
  const engine = status?.engine;
  if (fault !== null) {
    return {
      look: 'warn',
      word: trans.__('No word from Jupyter'),
      more: '',
      why: said(fault),
    };
  }
  if (status === null || (engine?.error !== undefined && !isSilent)) {
    return { look: 'off', word: trans.__('Looking…'), more: '', why: '' };
  }
  if (!engine) {
    return {
      look: 'off',
      word: trans.__('Not running'),
      more: '',
      why: trans.__('It starts by itself with the first answer or download.'),
    };
  }
  if (isSilent) {
    const error = Fault.of(
      engine.error,
      trans.__(
        'It is very busy, or it hangs; this is what it said last. To end it, type in a cell: %1',
        '%llmspell_engine stop',
      ),
    );
    return {
      look: 'warn',
      word: trans.__('Does not answer'),
      more: '',
      why: said(error),
    };
  }
  return {
    look: 'on',
    word: trans.__('Running'),
    more: waiting(engine, trans),
    why: '',
  };
}

function said(fault: Fault): string {
  return [fault.message, fault.hint].map((each) => shown(each, 600)).join(' ');
}

function waiting(engine: IEngineState, trans: TranslationBundle): string {
  const count = (engine.workers ?? []).reduce(
    (sum, worker) => sum + worker.waiting,
    0,
  );
  return count
    ? trans._n('%1 request waits', '%1 requests wait', count, count)
    : trans.__('nothing waits');
}

/** Bytes of memory that a model takes. */
export function memoryOf(worker: IWorker): number {
  return worker.rss_bytes ?? worker.need_bytes ?? 0;
}

function Memory(props: { status: IStatus }): React.JSX.Element | null {
  const { trans } = useDesk();
  const { memory_total: total, memory_available: free } = props.status.machine;
  if (!total) {
    return null;
  }
  const models = (props.status.engine?.workers ?? []).reduce(
    (sum, worker) => sum + memoryOf(worker),
    0,
  );
  const used = Math.max(0, total - free);
  const ours = Math.min(models, used);
  const share = (bytes: number): string =>
    `${((100 * bytes) / total).toFixed(1)}%`;
  const text = trans.__('%1 of %2 free', size(free), size(total));
  const held = models ? trans.__('models hold %1', size(models)) : '';
  return (
    <div className="llmspell-memory">
      <div className="llmspell-memoryWords">
        <span>{trans.__('Memory')}</span>
        <span className="llmspell-dim llmspell-end">{text}</span>
      </div>
      <div
        role="meter"
        className="llmspell-bar llmspell-mod-memory"
        aria-label={trans.__('Memory in use')}
        aria-valuemin={0}
        aria-valuemax={total}
        aria-valuenow={used}
        aria-valuetext={[text, held].filter(Boolean).join(', ')}
      >
        <div className="llmspell-barDone" style={{ width: share(ours) }} />
        <div
          className="llmspell-barOther"
          style={{ width: share(used - ours) }}
        />
      </div>
      <Facts facts={[held]} />
    </div>
  );
}

/** What computes, and why that. */
function Devices(props: {
  workers: readonly IWorker[];
}): React.JSX.Element | null {
  const { trans } = useDesk();
  const found = new Map<string, string>();
  for (const worker of props.workers) {
    if (worker.device) {
      found.set(
        worker.device,
        worker.device_warning ?? worker.device_reason ?? '',
      );
    }
  }
  return found.size ? (
    <dl className="llmspell-pairs">
      {[...found].map(([device, why]) => (
        <React.Fragment key={device}>
          <dt>{trans.__('Device')}</dt>
          <dd>
            {shown(device)}
            {why ? (
              <span className="llmspell-why">{shown(why, 400)}</span>
            ) : null}
          </dd>
        </React.Fragment>
      ))}
    </dl>
  ) : null;
}
