import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { plain } from '../engine/names';
import { duration, shown, size } from '../engine/text';
import type { IEndedJob, IJob, IPullProgress } from '../engine/wire';
import { useDesk } from './desk';
import { Facts, ProgressBar, TextButton } from './parts';

/** A download or check that runs. */
export function Pulling(props: {
  job: IJob;
  progress: IPullProgress;
}): React.JSX.Element {
  const { trans, actions, confirmDiscard } = useDesk();
  const { job, progress } = props;
  const name = shown(plain(job.model));
  const isPull = job.kind === 'pull';
  const isDisabled = actions.isPending(job.id);
  const [first, second] = pulling(progress, isPull, trans);
  return (
    <>
      <ProgressBar
        label={
          isPull
            ? trans.__('Download of %1', name)
            : trans.__('Check of %1', name)
        }
        percent={progress.percent}
        text={[...first, ...second].join(', ')}
      />
      <Facts facts={first} className="llmspell-mod-numbers" />
      <Facts facts={second} className="llmspell-mod-numbers" />
      {progress.note ? (
        <p className="llmspell-note">{shown(progress.note, 400)}</p>
      ) : null}
      {isPull ? (
        <div className="llmspell-buttons">
          <TextButton
            label={trans.__('Pause')}
            title={trans.__('Pause the download of %1', name)}
            isDisabled={isDisabled}
            onClick={() => void actions.stop(job.id)}
          />
          <TextButton
            label={trans.__('Cancel')}
            title={trans.__('Cancel the download of %1', name)}
            isDisabled={isDisabled}
            onClick={() => {
              void confirmDiscard(plain(job.model)).then((sure) =>
                sure ? actions.discard(job.id, plain(job.model)) : undefined,
              );
            }}
          />
        </div>
      ) : null}
    </>
  );
}

/** How far a download is: what has come, and how fast it comes. */
function pulling(
  progress: IPullProgress,
  isPull: boolean,
  trans: TranslationBundle,
): [string[], string[]] {
  const words = {
    starting: trans.__('begins'),
    downloading: trans.__('downloads'),
    verifying: isPull ? trans.__('is checked') : trans.__('checks'),
    complete: trans.__('is complete'),
    failed: trans.__('failed'),
    cancelled: trans.__('is cancelled'),
  };
  // Of a download, numbers say it all.
  const first =
    progress.phase === 'downloading' && progress.percent !== null
      ? []
      : [words[progress.phase]];
  if (progress.percent !== null) {
    first.push(`${String(progress.percent)} %`);
  }
  if (progress.total !== null) {
    first.push(trans.__('%1 of %2', size(progress.done), size(progress.total)));
  } else if (progress.done) {
    first.push(size(progress.done));
  }
  const second = [];
  if (progress.bytes_per_second) {
    second.push(`${size(progress.bytes_per_second)}/s`);
  }
  if (progress.seconds_left !== null) {
    second.push(trans.__('%1 left', duration(progress.seconds_left)));
  }
  return [first, second];
}

/** A download or check that is over before its end. */
export function Left(props: { job: IEndedJob }): React.JSX.Element {
  const { trans, actions, confirmDiscard } = useDesk();
  const { job } = props;
  const name = shown(plain(job.model));
  const isPaused = job.phase === 'cancelled';
  const isPull = job.kind === 'pull';
  const done = job.progress?.done ?? 0;
  const total = job.progress?.total ?? null;
  const kept = total
    ? trans.__('%1 of %2 are here', size(done), size(total))
    : '';
  const again = isPull && job.asked ? job.asked : { model: job.model };
  const isDisabled = [job.id, job.model, again.model].some((each) =>
    actions.isPending(each),
  );
  return (
    <li className="llmspell-card" data-job={job.id}>
      <div className="llmspell-cardHead">
        <span className="llmspell-name" title={name}>
          {name}
        </span>
        <span className="llmspell-dim">
          {isPaused
            ? isPull
              ? trans.__('paused')
              : trans.__('stopped')
            : trans.__('failed')}
        </span>
      </div>
      {isPull && total ? (
        <ProgressBar
          label={trans.__('Download of %1', name)}
          percent={job.progress?.percent ?? null}
          text={kept}
          isStill
        />
      ) : null}
      <Facts facts={[isPull && kept]} className="llmspell-mod-numbers" />
      {!isPaused && job.error ? (
        <p className="llmspell-note llmspell-mod-error" role="alert">
          {shown(job.error.message, 600)}{' '}
          {job.error.hint ? (
            <span className="llmspell-hint">{shown(job.error.hint, 600)}</span>
          ) : null}
        </p>
      ) : null}
      <div className="llmspell-buttons">
        <TextButton
          label={
            isPull
              ? isPaused
                ? trans.__('Resume')
                : trans.__('Try again')
              : trans.__('Check again')
          }
          title={
            isPull
              ? trans.__('Go on with the download of %1', name)
              : trans.__('Check %1 again', name)
          }
          isMain
          isDisabled={isDisabled}
          onClick={() =>
            void (isPull ? actions.pull(again) : actions.verify(job.model))
          }
        />
        {isPull && done ? (
          <TextButton
            label={trans.__('Discard')}
            title={trans.__('Delete what has come of %1', name)}
            isDisabled={isDisabled}
            onClick={() => {
              void confirmDiscard(plain(job.model)).then((sure) =>
                sure ? actions.discard(job.id, plain(job.model)) : undefined,
              );
            }}
          />
        ) : null}
        <TextButton
          label={trans.__('Hide')}
          title={trans.__('Show no more of %1 here', name)}
          onClick={() => {
            actions.dismiss(job.id);
          }}
        />
      </div>
    </li>
  );
}
