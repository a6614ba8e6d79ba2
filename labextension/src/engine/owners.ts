import type { IJob, IStatus } from './wire';

/** What the engine does for a kernel now, however deaf the kernel is. */
export function jobsOf(
  status: IStatus | null,
  kernel: string,
): readonly IJob[] {
  return (status?.engine?.jobs ?? []).filter((job) => job.kernel === kernel);
}

/** Whether a job ends with the cell that began it: a download in the background does not. */
export function isOfCell(job: IJob): boolean {
  return job.progress === undefined || (job.viewers ?? 0) > 0;
}
