import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { shown } from '../engine/text';

/** Names and values, without those that nobody knows. */
export function Pairs(props: {
  pairs: readonly (readonly (string | null)[])[];
}): React.JSX.Element {
  return (
    <dl className="llmspell-pairs">
      {props.pairs.map(([name, value]) =>
        name && value ? (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd>{shown(value)}</dd>
          </React.Fragment>
        ) : null,
      )}
    </dl>
  );
}

/** A number of weights: `44K`, `135M`, `1.7B`. */
export function count(parameters: number | null): string | null {
  if (!parameters) {
    return null;
  }
  if (parameters < 1e6) {
    return `${(parameters / 1e3).toFixed(0)}K`;
  }
  return parameters < 1e9
    ? `${(parameters / 1e6).toFixed(0)}M`
    : `${(parameters / 1e9).toFixed(1)}B`;
}

/** A number of tokens in words. */
export function tokens(
  context: number | null,
  trans: TranslationBundle,
): string | null {
  return context ? trans.__('%1 tokens', context.toLocaleString()) : null;
}
