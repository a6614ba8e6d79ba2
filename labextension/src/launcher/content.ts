import type { INotebookContent } from '@jupyterlab/nbformat';
import type { KernelSpec } from '@jupyterlab/services';

import { EXTENSION } from '../notebook/insertCell';
import { STREAM } from '../snippets/texts';

/** The kernel for a new notebook: the usual one if it is of Python, else the first that is. */
export function pythonKernel(
  specs: KernelSpec.ISpecModels | null,
): KernelSpec.ISpecModel | null {
  const usual = specs?.kernelspecs[specs.default];
  const all = [usual, ...Object.values(specs?.kernelspecs ?? {})];
  return all.find((spec) => spec?.language === 'python') ?? null;
}

/**
 * A notebook with two cells that run as they are.
 *
 * @param profile - What it loads; empty shows the one in force.
 */
export function content(
  profile: string,
  kernel: KernelSpec.ISpecModel | null,
): INotebookContent {
  const cell = (id: string, source: string): INotebookContent['cells'][0] => ({
    cell_type: 'code',
    id,
    metadata: {},
    execution_count: null,
    outputs: [],
    source,
  });
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: kernel
      ? {
          kernelspec: { name: kernel.name, display_name: kernel.display_name },
        }
      : {},
    cells: [
      cell('load', `${EXTENSION}\n%llmspell_profile ${profile}`.trimEnd()),
      cell('ask', STREAM),
    ],
  };
}
