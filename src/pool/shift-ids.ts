import { CommandFailed } from "../host/command-failed.ts";
import { UserError } from "../host/errors.ts";
import type { Host } from "../host/host.ts";

/** Where ids 0 and those above it go: to `start` and those above it, `size` of them. */
export interface IdShift {
  readonly start: number;
  readonly size: number;
}

/**
 * Looks whether every id in a tree can be shifted; changes nothing.
 * @throws {UserError} naming the entry that cannot
 */
export async function refuseUnshiftable(host: Host, path: string, shift: IdShift): Promise<void> {
  await walk(host, "look", path, shift);
}

/**
 * Shifts every id in a tree, as if it had been unpacked by the root of a user
 * namespace that maps them so: owners, the users and groups of ACLs, and the
 * root ids of file capabilities. All else stays: times of change, set-uid bits,
 * hard links, what files have on the disk. Nobody else may be in the tree. One
 * that this failed in, or was cut off in, is of no use.
 * @throws {UserError} naming the entry that it failed at
 */
export async function shiftIds(host: Host, path: string, shift: IdShift): Promise<void> {
  await walk(host, "shift", path, shift);
}

async function walk(host: Host, how: "look" | "shift", path: string, { start, size }: IdShift): Promise<void> {
  try {
    // it dies with us: nothing may go on in a tree that the next run takes away
    const perl = ["perl", "-e", WALK, how, path, String(start), String(size), String(process.pid)];
    await host.run(["setpriv", "--pdeathsig", "KILL", "--", ...perl]);
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    const said = error.result.stderr.trim() || `perl exited with ${error.result.exitCode}`;
    throw new UserError(`Unable to shift ids: ${said}`, { hint: HINTS[how], cause: error });
  }
}

const HINTS = {
  look: "op-dbus template build NAME   # after a change of its definition",
  shift: "op-dbus status   # is the pool full?",
};

// Node.js has no calls for extended attributes, and a process for each entry would take minutes; Perl is on every
// Debian (perl-base is essential). The walk goes from folder to folder and knows an entry by its name in its folder
// alone: no path is ever too long, and no link is followed. Only names are kept on the way down, no open folders.
const WALK = String.raw`
use strict;
use Fcntl qw(:DEFAULT :mode);

my ($how, $root, $start, $size, $parent) = @ARGV;
exit 1 if getppid != $parent; # it was dead before its death could be a signal
# system calls of x86_64, the one kind of machine that this program is built for; all of them leave links alone
my ($LCHOWN, $LSETXATTR, $LGETXATTR, $LLISTXATTR) = (94, 189, 192, 195);
my $buffer = "\0" x 65536; # the most that the kernel gives
my ($device, %done, @path, @levels);

sub refuse {
  my $entry = join "/", @path;
  $entry =~ s/[^ -~]/sprintf "\\x%02x", ord $&/ge;
  print STDERR length $entry > 300 ? "..." . substr($entry, -300) : $entry, " $_[0]\n";
  exit 1;
}

sub call {
  my $number = shift;
  my $got = syscall($number, @_);
  refuse("cannot be shifted: $!") if $got < 0;
  return $got;
}

sub shifted {
  my ($what, $id) = @_;
  refuse("has the $what $id, and only ids below $size can be shifted") if $id >= $size;
  return $id + $start;
}

# struct posix_acl_xattr_header and its entries (linux/posix_acl_xattr.h); only ACL_USER and ACL_GROUP name somebody
sub shifted_acl {
  my ($version, @entries) = unpack "V (v v V)*", $_[0];
  refuse("has an ACL of a form that is not known") if $version != 2;
  my $value = pack "V", $version;
  while (my ($tag, $permissions, $id) = splice @entries, 0, 3) {
    $value .= pack "v v V", $tag, $permissions, $tag == 0x02 || $tag == 0x08 ? shifted("id in its ACL", $id) : $id;
  }
  return $value;
}

# struct vfs_ns_cap_data (linux/capability.h); revision 2 is without a root id, which means 0
sub shifted_capability {
  my ($magic, $sets, $id) = unpack "V a16 V", $_[0];
  my $revision = $magic >> 24;
  refuse("has a file capability of a form that is not known") if $revision != 2 && $revision != 3;
  return pack "V a16 V", 3 << 24 | $magic & 0xffffff, $sets, shifted("root id in its file capability", $id // 0);
}

my %shifted = (
  "security.capability" => \&shifted_capability,
  "system.posix_acl_access" => \&shifted_acl,
  "system.posix_acl_default" => \&shifted_acl,
);

# gives whether it is a folder to go into
sub visit {
  my ($name) = @_;
  my ($on, $inode, $mode, $links, $uid, $gid) = lstat $name or refuse("cannot be read: $!");
  $device //= $on;
  # one in a snapshot is an empty folder with inode 2, which takes no owner
  refuse("is a subvolume or a mount, which cannot be shifted with the rest") if $on != $device || $inode == 2;
  my $is_folder = S_ISDIR($mode);
  return 0 if !$is_folder && $links > 1 && $done{$inode}++;
  my @owners = (shifted("owner", $uid), shifted("group", $gid));
  my %attributes;
  for my $attribute (split /\0/, substr $buffer, 0, call($LLISTXATTR, $name, $buffer, length $buffer)) {
    my $shift = $shifted{$attribute} or next;
    my $length = call($LGETXATTR, $name, $attribute, $buffer, length $buffer);
    $attributes{$attribute} = $shift->(substr $buffer, 0, $length);
  }
  return $is_folder if $how eq "look";
  call($LCHOWN, $name, @owners);
  # a change of owner takes both away: set-uid and set-gid bits, and the capability
  if (!$is_folder && $mode & 06000) { chmod $mode & 07777, $name or refuse("cannot be shifted: $!") }
  for my $attribute (keys %attributes) {
    call($LSETXATTR, $name, my $copy = $attribute, $attributes{$attribute}, length $attributes{$attribute}, 0);
  }
  return $is_folder;
}

sub enter {
  my ($name) = @_;
  push @path, $name;
  my ($folder, $list);
  sysopen($folder, $name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) && chdir $folder && opendir($list, ".")
    or refuse("cannot be read: $!");
  $! = 0;
  my @names = readdir $list;
  refuse("cannot be read: $!") if $!;
  my @folders;
  for my $entry (@names) {
    next if $entry eq "." || $entry eq "..";
    push @path, $entry;
    push @folders, $entry if visit($entry);
    pop @path;
  }
  push @levels, \@folders;
}

push @path, $root;
visit($root);
pop @path;
enter($root);
while (@levels) {
  my $next = pop @{$levels[-1]};
  if (defined $next) { enter($next); next }
  pop @levels;
  if (@levels) { chdir ".." or refuse("cannot be left: $!") }
  pop @path;
}
`;
