// Pods that answer HTTP and UDP on port 7000 with whom they saw and how much came, and ask others; by perl, which Debian always has.
// Assumes image localhost/host. A Pod's question costs one exec, some 0.3 s in an emulated VM: all of a Pod's questions go in one.
import type { HttpClient } from '../../lib/api/http/client.ts';

const server = String.raw`
use IO::Socket::IP;
$SIG{TERM} = sub { kill 9, $udp; exit 0 };
sub plain { my $host = shift->peerhost; $host =~ s/^::ffff://; $host }
my @at = (LocalHost => '::', LocalPort => 7000, V6Only => 0);
my $tcp = IO::Socket::IP->new(@at, Listen => 32, ReuseAddr => 1) or die $@;
my $dgram = IO::Socket::IP->new(@at, Type => SOCK_DGRAM) or die $@;
unless ($udp = fork) {
  while (1) { $dgram->recv(my $data, 65535); $dgram->send(plain($dgram) . ' ' . length $data) }
}
while (1) {
  my $client = $tcp->accept or next;
  <$client> =~ m{ /(\d+)};
  my ($fill, $size, $body) = ($1, 0, '');
  while ((my $line = <$client>) =~ /\S/) { $size = $1 if $line =~ /^content-length: (\d+)/i }
  read $client, $body, $size;
  print $client "HTTP/1.0 200 OK\r\n\r\n", plain($client), ' ', length $body, "\n", 'x' x $fill;
  close $client;
}
`;

/** Arguments: kind,address,bytes sent,bytes asked for … Prints a line each: whom the other saw, what it got, what came back. */
const client = String.raw`
use IO::Socket::IP;
for (@ARGV) {
  my ($kind, $to, $out, $in) = split ',';
  my $said = '';
  if ($kind eq 'http') {
    my $socket = IO::Socket::IP->new(PeerHost => $to, PeerPort => 7000, Timeout => 5);
    if ($socket) {
      local $SIG{ALRM} = sub { shutdown $socket, 2 };
      alarm 20;
      print $socket "POST /$in HTTP/1.0\r\nContent-Length: $out\r\n\r\n", 'x' x $out;
      shutdown $socket, 1;
      local $/;
      my ($head, $body) = split /\r\n\r\n/, <$socket>, 2;
      $said = $1 . ' ' . length $2 if $body =~ /^(.*)\n(.*)/s;
      alarm 0;
    } else { $said = "no connection: $@" }
  } else {
    my $socket = IO::Socket::IP->new(PeerHost => $to, PeerPort => 7000, Type => SOCK_DGRAM);
    for (1 .. 8) {
      $socket->send('x' x $out);
      my $ready = '';
      vec($ready, fileno $socket, 1) = 1;
      next unless select $ready, undef, undef, 0.5;
      last if defined $socket->recv($said, 65535);
    }
  }
  print $said || 'nothing', "\n";
}
`;

/** A Pod that answers, on a node; it stays there, whatever becomes of the node, unless told. */
export const echoPod = (
  name: string,
  nodeName: string,
  tolerations: readonly object[] = [{ operator: 'Exists' }],
): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: {
    nodeName,
    terminationGracePeriodSeconds: 2,
    tolerations,
    containers: [{ name: 'echo', image: 'localhost/host', command: ['perl', '-e', server] }],
  },
});

export interface Question {
  readonly kind: 'http' | 'udp';
  readonly to: string;
  /** Bytes of the body or datagram sent. */
  readonly out: number;
  /** Bytes asked for in the answer; http only. */
  readonly back?: number;
}

/** Asks from inside a Pod, one after the other. Gives `SEEN-ADDRESS BYTES [BYTES-BACK]`, or what went wrong, for each. */
export async function ask(api: HttpClient, pod: string, questions: readonly Question[]): Promise<string[]> {
  const args = questions.map(({ kind, to, out, back = 0 }) => [kind, to, out, back].join(','));
  const command = ['perl', '-e', client, ...args] as [string, ...string[]];
  const session = await api.exec({ namespace: 'default', name: pod }, { command, container: 'echo' });
  let text = '';
  const add = (chunk: Buffer): void => {
    text += chunk.toString('utf8');
  };
  session.onStdout(add);
  session.onStderr(add);
  const code = await session.exit;
  if (code !== 0) throw new Error(`in Pod ${pod}: exit code ${code}: ${text}`);
  return text.trim().split('\n');
}
