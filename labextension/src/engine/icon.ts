import { LabIcon } from '@jupyterlab/ui-components';

// A wand and three sparks.
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3 jp-icon-selectable" fill="#616161">
    <path d="M3.3 18.9 13 9.2l1.8 1.8-9.7 9.7a1.27 1.27 0 0 1-1.8-1.8z"/>
    <path d="m14 8.2 1.2-1.2a1.27 1.27 0 0 1 1.8 1.8L15.800 10z"/>
    <path d="m18.500 2.200.7 1.900 1.900.7-1.900.7-.7 1.900-.7-1.900-1.900-.7 1.900-.7z"/>
    <path d="m10 2.500.9 2.300 2.300.9-2.300.9L10 8.900l-.9-2.300-2.300-.9 2.300-.9z"/>
    <path d="m19 12.500.8 2 2 .8-2 .8-.8 2-.8-2-2-.8 2-.8z"/>
  </g>
</svg>`;

/** What stands for LLMSpell in bars and lists. */
export const spellIcon = new LabIcon({ name: 'llmspell:spell', svgstr: SVG });
