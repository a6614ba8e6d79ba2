import { stopIcon } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { plain } from '../engine/names';
import { duration, rate, shown } from '../engine/text';
import type { IJob } from '../engine/wire';
import { isRunning } from '../engine/watch';
import { useDesk } from './desk';
import { Facts, IconButton, ProgressBar, Section } from './parts';
import { Left, Pulling } from './pulls';

/** What the engine does, for all notebooks and pages, and what it could not finish. */
export function JobsSection(): React.JSX.Element {
  const { watch, actions, trans } = useDesk();
  const jobs = watch.jobs;
  // A download that goes on may be asked for by another of its names.
  const working = new Set(jobs.map((job) => plain(job.model)));
  const left = (watch.status?.engine?.ended ?? []).filter(
    (job) =>
      job.phase !== 'complete' &&
      !working.has(plain(job.model)) &&
      !actions.isDismissed(job.id),
  );
  return (
    <Section title={trans.__('At work')} count={jobs.length}>
      {jobs.length + left.length ? (
        <ul className="llmspell-list">
          {jobs.map((job) => (
            <Running key={job.id} job={job} />
          ))}
          {left.map((job) => (
            <Left key={job.id} job={job} />
          ))}
        </ul>
      ) : (
        <p className="llmspell-empty">{trans.__('Nothing runs.')}</p>
      )}
    </Section>
  );
}

function Running(props: { job: IJob }): React.JSX.Element {
  const { trans, actions, placeOf } = useDesk();
  const { job } = props;
  const name = shown(plain(job.model));
  const place = placeOf(job);
  return (
    <li className="llmspell-card" data-job={job.id}>
      <div className="llmspell-cardHead">
        <span className="llmspell-name" title={name}>
          {name}
        </span>
        {job.kind === 'pull' ? null : (
          <IconButton
            icon={stopIcon}
            title={trans.__('Stop %1', name)}
            isDisabled={actions.isPending(job.id)}
            onClick={() => void actions.stop(job.id)}
          />
        )}
      </div>
      {job.progress ? (
        <Pulling job={job} progress={job.progress} />
      ) : (
        <Answering job={job} />
      )}
      <Facts
        facts={[
          place && trans.__('for %1', shown(place)),
          job.progress ? null : duration(job.seconds),
        ]}
        className="llmspell-mod-numbers"
      />
    </li>
  );
}

/** An answer or a load. */
function Answering(props: { job: IJob }): React.JSX.Element {
  const { trans, watch } = useDesk();
  const { job } = props;
  const load = (watch.status?.loads ?? []).find(
    (each) => each.model === job.model && isRunning(each),
  );
  const facts = answering(job, trans);
  return (
    <>
      {job.phase === 'loading' ? (
        <ProgressBar
          label={trans.__('Loading of %1', shown(plain(job.model)))}
          percent={load?.percent ?? null}
          text={facts.join(', ')}
        />
      ) : null}
      <Facts facts={facts} className="llmspell-mod-numbers" />
    </>
  );
}

/** An answer or load in words. */
function answering(job: IJob, trans: TranslationBundle): string[] {
  const facts = [phase(job, trans)];
  if (job.tokens_per_second !== null) {
    facts.push(trans.__('%1 tokens/s', rate(job.tokens_per_second)));
  }
  if (job.tokens) {
    facts.push(trans._n('%1 token', '%1 tokens', job.tokens, job.tokens));
  }
  return facts;
}

function phase(job: IJob, trans: TranslationBundle): string {
  switch (job.phase) {
    case 'queued':
      return job.ahead
        ? trans._n(
            'waits for %1 other',
            'waits for %1 others',
            job.ahead,
            job.ahead,
          )
        : trans.__('waits');
    case 'loading':
      return trans.__('loads the model');
    case 'reading the prompt':
      return trans.__('reads the prompt');
    case 'answering':
      return trans.__('answers');
    default:
      return shown(job.phase);
  }
}
