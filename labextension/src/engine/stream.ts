/**
 * The values of a stream of server-sent events; null stands for a sign of life without a value.
 *
 * Not an `EventSource`, which can send no token.
 */
export async function* values(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      const blocks = (rest + decoder.decode(value, { stream: true })).split(
        '\n\n',
      );
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        yield parsed(block);
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parsed(block: string): unknown {
  const data = block
    .split('\n')
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice('data:'.length))
    .join('\n');
  return data ? JSON.parse(data) : null;
}
