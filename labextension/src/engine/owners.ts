import type { IJob, IStatus } from './wire';

/** The process of a kernel, or undefined where the server does not know it. */
function clientOf(status: IStatus | null, kernel: string): string | undefined {
  const pid = status?.kernels?.[kernel];
  return pid === undefined ? undefined : `process ${String(pid)}`;
}

/** What the engine does for a kernel now, however deaf the kernel is. */
export function jobsOf(
  status: IStatus | null,
  kernel: string,
): readonly IJob[] {
  const client = clientOf(status, kernel);
  return client === undefined
    ? []
    : (status?.engine?.jobs ?? []).filter((job) => job.client === client);
}

/** The kernel for which a job runs, or undefined when it is none of this server. */
export function kernelOf(
  status: IStatus | null,
  job: IJob,
): string | undefined {
  return Object.keys(status?.kernels ?? {}).find(
    (kernel) => clientOf(status, kernel) === job.client,
  );
}

/** Whether a job ends with the cell that began it: a download in the background does not. */
export function isOfCell(job: IJob): boolean {
  return job.progress === undefined || (job.viewers ?? 0) > 0;
}
