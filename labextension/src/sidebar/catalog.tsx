import * as React from 'react';

import { Fault } from '../engine/fault';
import { namesOfOffer, plain } from '../engine/names';
import { shown, size } from '../engine/text';
import type { IJob, IOffer } from '../engine/wire';
import { useDesk } from './desk';
import { Light, Verdict } from './fit';
import { count, Pairs, tokens } from './pairs';
import { Facts, Fold, Section, TextButton } from './parts';

/** What can be had: the catalog, or what the hub has for some words. */
export function CatalogSection(): React.JSX.Element {
  const { watch, library, actions, trans } = useDesk();
  const [words, setWords] = React.useState('');
  const offers = library.offers;
  // What the hub found fits its own idea of the words.
  const isFound = library.words !== '' && words.trim() === library.words;
  const matching = (offers ?? []).filter((offer) =>
    isFound ? true : matches(offer, words),
  );
  const ask = (): void => {
    void actions.search(words.trim());
  };
  return (
    <Section title={trans.__('Catalog')} count={matching.length}>
      <form
        className="llmspell-search"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          ask();
        }}
      >
        <input
          type="search"
          className="llmspell-input"
          value={words}
          placeholder={trans.__('Filter')}
          aria-label={trans.__('Filter models; Enter asks the hub')}
          onChange={(event) => {
            setWords(event.target.value);
            if (event.target.value === '' && library.words) {
              void actions.search('');
            }
          }}
        />
        <button
          type="submit"
          className="llmspell-button"
          disabled={!words.trim() || library.isSearching}
          title={trans.__('Ask the hub for these words')}
        >
          {trans.__('Ask hub')}
        </button>
      </form>
      <p className="llmspell-note" role="status">
        {library.isSearching
          ? trans.__('Asking the hub…')
          : library.words
            ? trans._n(
                '%1 model of catalog and hub',
                '%1 models of catalog and hub',
                matching.length,
                matching.length,
              )
            : ''}
      </p>
      <ul className="llmspell-list">
        {matching.map((offer) => (
          <Row
            key={`${offer.backend} ${offer.id}`}
            offer={offer}
            isHere={library.isInstalled(offer)}
            job={jobOf(offer, watch.jobs)}
          />
        ))}
      </ul>
      {offers === null ? (
        <p className="llmspell-empty">{trans.__('Looking…')}</p>
      ) : matching.length === 0 && !library.isSearching ? (
        <p className="llmspell-empty">
          {library.words
            ? trans.__('Nothing fits these words.')
            : trans.__(
                'Nothing in the catalog fits; press Enter to ask the hub.',
              )}
        </p>
      ) : null}
      {library.notes.map((note) => (
        <p className="llmspell-note" key={note}>
          {shown(note, 400)}
        </p>
      ))}
    </Section>
  );
}

function matches(offer: IOffer, words: string): boolean {
  const text = [
    offer.id,
    offer.title,
    offer.repository,
    offer.license,
    offer.architecture,
    ...offer.quantizations,
    ...offer.tasks,
  ]
    .join(' ')
    .toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

function jobOf(offer: IOffer, jobs: readonly IJob[]): IJob | undefined {
  const names = namesOfOffer(offer);
  return jobs.find(
    (job) =>
      job.kind === 'pull' && names.includes(plain(job.model).toLowerCase()),
  );
}

function Row(props: {
  offer: IOffer;
  isHere: boolean;
  job: IJob | undefined;
}): React.JSX.Element {
  const { trans, library } = useDesk();
  const [isOpen, setOpen] = React.useState(false);
  const id = React.useId();
  const { offer, job } = props;
  const name = shown(offer.id);
  const judgement = library.judgement(offer.id);
  const percent = job?.progress?.percent;
  return (
    <li className="llmspell-row">
      <Fold isOpen={isOpen} setOpen={setOpen} controls={id}>
        <span className="llmspell-name" title={name}>
          {name}
        </span>
        <span className="llmspell-chip">
          {job
            ? percent === null || percent === undefined
              ? trans.__('coming')
              : `${String(percent)} %`
            : props.isHere
              ? trans.__('here')
              : ''}
        </span>
      </Fold>
      <Facts
        facts={[
          offer.size_bytes ? size(offer.size_bytes) : null,
          offer.license ? shown(offer.license, 40) : null,
          offer.gated && trans.__('asks for terms'),
        ]}
      />
      {judgement !== undefined && !(judgement instanceof Fault) ? (
        <Light judgement={judgement} />
      ) : null}
      <div id={id} hidden={!isOpen}>
        {isOpen ? (
          <Opened
            offer={offer}
            isHere={props.isHere}
            isComing={job !== undefined}
          />
        ) : null}
      </div>
    </li>
  );
}

function Opened(props: {
  offer: IOffer;
  isHere: boolean;
  isComing: boolean;
}): React.JSX.Element {
  const { trans, library, actions } = useDesk();
  const { offer } = props;
  const [quantization, setQuantization] = React.useState('');
  const name = shown(offer.id);
  const judgement = library.judgement(offer.id);
  const several = offer.quantizations.length > 1;
  return (
    <>
      {offer.title ? (
        <p className="llmspell-about">{shown(offer.title, 300)}</p>
      ) : null}
      <Pairs
        pairs={[
          [trans.__('Weights'), count(offer.parameter_count)],
          [trans.__('Context'), tokens(offer.context_length, trans)],
          [trans.__('Kind'), offer.architecture],
          [trans.__('From'), offer.repository ?? offer.origin],
        ]}
      />
      {several && !props.isHere ? (
        <label className="llmspell-choice">
          {trans.__('Quantisation')}
          <select
            className="llmspell-select"
            value={quantization}
            onChange={(event) => {
              setQuantization(event.target.value);
            }}
          >
            <option value="">
              {trans.__('%1 (usual)', shown(offer.quantizations[0] ?? '', 30))}
            </option>
            {offer.quantizations.slice(1).map((each) => (
              <option key={each} value={each}>
                {shown(each, 30)}
              </option>
            ))}
          </select>
        </label>
      ) : null}
      {judgement === undefined ? null : <Verdict judgement={judgement} />}
      <div className="llmspell-buttons">
        {props.isHere || props.isComing ? null : (
          <TextButton
            label={trans.__('Pull')}
            title={trans.__('Pull %1', name)}
            isMain
            isDisabled={actions.isPending(offer.id)}
            onClick={() =>
              void actions.pull({
                model: offer.id,
                ...(quantization ? { quantization } : {}),
              })
            }
          />
        )}
        <TextButton
          label={trans.__('Will it fit?')}
          title={trans.__('Judge whether %1 fits this machine', name)}
          isDisabled={judgement === 'asking'}
          onClick={() => {
            actions.judge(offer.id);
          }}
        />
      </div>
    </>
  );
}
