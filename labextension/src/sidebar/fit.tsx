import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Fault } from '../engine/fault';
import type { Judgement } from '../engine/library';
import { rate, shown } from '../engine/text';
import type { IFit } from '../engine/wire';
import { useDesk } from './desk';

/** Signs that differ in more than their colour. */
const SIGNS = { green: '●', amber: '▲', red: '✕' };

/** Whether a model fits, in a line. */
export function Light(props: {
  judgement: Exclude<Judgement, Fault>;
}): React.JSX.Element {
  const { trans } = useDesk();
  const { judgement } = props;
  if (judgement === 'asking') {
    return (
      <div className="llmspell-light" role="status">
        {trans.__('Looking at the model and at this machine…')}
      </div>
    );
  }
  return (
    <div className={`llmspell-light llmspell-mod-${judgement.light}`}>
      <span aria-hidden="true">{SIGNS[judgement.light]}</span>{' '}
      {word(judgement, trans)}
    </div>
  );
}

function word(fit: IFit, trans: TranslationBundle): string {
  if (fit.light === 'red') {
    return trans.__('too big');
  }
  const fits = fit.light === 'green' ? trans.__('fits') : trans.__('tight');
  if (fit.speed === null) {
    return fits;
  }
  const [low, high] = [rate(fit.speed.low), rate(fit.speed.high)];
  const speed = low === high ? low : `${low}–${high}`;
  return `${fits} · ${trans.__('%1 tokens/s', speed)}`;
}

/** Why a model fits or not. */
export function Verdict(props: {
  judgement: Judgement;
}): React.JSX.Element | null {
  const { judgement } = props;
  if (judgement === 'asking') {
    return null;
  }
  if (judgement instanceof Fault) {
    return (
      <p className="llmspell-note llmspell-mod-error" role="alert">
        {shown(judgement.message, 600)}{' '}
        <span className="llmspell-hint">{shown(judgement.hint, 600)}</span>
      </p>
    );
  }
  const lines = [...judgement.reasons, judgement.speed_note];
  return (
    <ul className="llmspell-verdict" role="status">
      {[...new Set(lines.filter(Boolean))].map((line) => (
        <li key={line}>{shown(line, 400)}</li>
      ))}
    </ul>
  );
}
