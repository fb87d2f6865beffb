// Frames and header blocks of SPDY, byte by byte, and both ends of a connection against each other.
import { duplexPair, PassThrough } from 'node:stream';
import { constants, createDeflate, createInflate } from 'node:zlib';
import t from 'tap';
import { SpdyConnection, type SpdyStream } from '../../../lib/spdy/connection.ts';
import { BlockStream, dictionary, headerBlock, readHeaderBlock } from '../../../lib/spdy/headers.ts';

t.test('the frames of a client', async (t) => {
  const toPeer: Buffer[] = [];
  const socket = recorder(toPeer);
  const connection = new SpdyConnection(socket, { role: 'client' });
  const [one, two] = await Promise.all([
    connection.open({ streamType: 'error' }),
    connection.open({ streamType: 'stdin' }),
  ]);
  const inflate = createInflate();
  const plain: Buffer[] = [];
  inflate.on('data', (part: Buffer) => plain.push(part));
  for (const frame of toPeer) {
    t.equal(frame.readUInt16BE(0), 0x8003);
    t.equal(frame.readUInt16BE(2), 1, 'SYN_STREAM');
    t.equal(frame.readUIntBE(5, 3), frame.length - 8);
    await new Promise((resolve) => inflate.write(frame.subarray(18), resolve));
  }
  t.same(
    toPeer.map((frame) => frame.readUInt32BE(8)),
    [1, 3],
    "a client's ids, in order",
  );
  t.same(
    Buffer.concat(plain),
    Buffer.concat([headerBlock({ streamtype: 'error' }), headerBlock({ streamtype: 'stdin' })]),
  );

  two.write(Buffer.from('in'));
  two.end();
  two.end();
  t.same(
    toPeer.slice(2).map((frame) => frame.toString('hex')),
    ['0000000300000002696e', '0000000301000000'],
  );

  const got: string[] = [];
  one.listen({ data: (chunk) => got.push(chunk.toString()), end: () => got.push('end') });
  const frames = Buffer.from('8003000600000004000000020000000100000002686900000001010000013f', 'hex');
  for (const byte of frames.subarray(0, 30)) socket.emit('data', Buffer.from([byte]));
  t.same(got.join(''), 'hi', 'however the bytes are cut');
  socket.emit('data', frames.subarray(30));
  t.same(got.join(''), 'hi?end');
  t.equal(toPeer.at(-1)?.toString('hex'), '800300060000000400000002', 'a ping of theirs is sent back');
});

/** A socket that takes everything and says nothing. */
function recorder(toPeer: Buffer[]): PassThrough {
  return Object.assign(new PassThrough(), {
    write: (frame: Buffer, done?: () => void) => {
      done?.();
      return toPeer.push(Buffer.from(frame)) > 0;
    },
  });
}

t.test('header blocks', async (t) => {
  t.equal(dictionary().length, 1423, 'as the protocol has it');
  const block = headerBlock({ streamType: 'data', port: '80' });
  t.same({ ...readHeaderBlock(block) }, { streamtype: 'data', port: '80' });
  for (let size = 0; size < block.length; size++) t.throws(() => readHeaderBlock(block.subarray(0, size)));
  t.same({ ...readHeaderBlock(headerBlock({ __proto__x: 'a', '': '' })) }, { __proto__x: 'a', '': '' });
});

for (const { name, options } of [
  { name: 'with the dictionary', options: { dictionary: dictionary() } },
  { name: 'without', options: {} },
])
  t.test(`blocks of a peer that compresses ${name}`, async (t) => {
    const theirs = createDeflate(options);
    const compressed = async (block: Buffer): Promise<Buffer> => {
      const parts: Buffer[] = [];
      const collect = (part: Buffer): unknown => parts.push(part);
      theirs.on('data', collect).write(block);
      await new Promise<void>((resolve) => theirs.flush(constants.Z_SYNC_FLUSH, resolve));
      theirs.off('data', collect);
      return Buffer.concat(parts);
    };
    const ours = new BlockStream('expand');
    t.teardown(() => ours.close());
    const blocks = ['error', 'data', 'error'].map((streamType) => headerBlock({ streamType, port: '8080' }));
    for (const block of blocks) t.same(await ours.run(await compressed(block)), block);
    await t.rejects(ours.run(await compressed(Buffer.alloc(200_000))), /over 65536 bytes/);
    await t.rejects(ours.run(Buffer.from('nothing')), 'and nothing after it');
  });

t.test('two ends', async (t) => {
  const [near, far] = duplexPair();
  const told: string[] = [];
  const servers: SpdyStream[] = [];
  const client = new SpdyConnection(near, { role: 'client' });
  const server = new SpdyConnection(far, {
    role: 'server',
    onStream: (stream, headers) => {
      if (headers.streamtype === 'none') throw new Error('not wanted');
      servers.push(stream);
      told.push(`open ${headers.streamtype}`);
      stream.listen({
        data: (chunk) => {
          told.push(`${headers.streamtype} ${chunk}`);
          stream.write(Buffer.from(`re ${chunk}`));
        },
        end: () => {
          told.push(`${headers.streamtype} ends`);
          stream.end();
        },
      });
    },
  });
  const closed = new Promise<void>((resolve) => {
    client.onClose = resolve;
  });
  const [one, two, none] = await Promise.all(
    ['one', 'two', 'none'].map((streamType) => client.open({ streamType })),
  );
  const heard: string[] = [];
  const ends = [one!, two!, none!].map(
    (stream, at) =>
      new Promise<void>((resolve) =>
        stream.listen({ data: (chunk) => heard.push(`${at} ${chunk}`), end: resolve }),
      ),
  );
  one!.write(Buffer.from('a')); // at once: before its headers are read over there
  one!.end();
  two!.write(Buffer.from('b'));
  await Promise.all([ends[0], ends[2]]);
  t.same(
    told.filter((line) => !line.includes('two')),
    ['open one', 'one a', 'one ends'],
  );
  t.ok(told.includes('open two'), 'one that is refused is reset, the others stay');
  server.finish();
  await Promise.all([ends[1], closed]);
  t.same(heard.sort(), ['0 re a', '1 re b'], 'what was said before is heard');
});

for (const { what, hex } of [
  { what: 'a control frame of over 64 KiB', hex: '8003000100ffffff' },
  { what: 'a control frame of another version', hex: `800200010000000a${'00'.repeat(10)}` },
  { what: 'a stream with a number of ours', hex: `800300010000000a00000002${'00'.repeat(6)}` },
  { what: 'headers that cannot be expanded', hex: `800300010000000c00000001${'00'.repeat(6)}ffff` },
])
  t.test(`${what} ends the connection`, async (t) => {
    const socket = recorder([]);
    const connection = new SpdyConnection(socket, {
      role: 'server',
      onStream: () => t.fail('none is opened'),
    });
    const closed = new Promise<void>((resolve) => {
      connection.onClose = resolve;
    });
    socket.emit('data', Buffer.from(hex, 'hex'));
    await closed;
    t.ok(socket.destroyed);
  });
