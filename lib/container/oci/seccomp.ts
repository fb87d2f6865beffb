// The RuntimeDefault seccomp profile: which system calls a container may make, given its capabilities. Pure.
// Assumes a runtime that skips names its libseccomp does not know (crun and runc do). The rules are those of
// containerd's default profile as of its version 2, told in a table of our own. About 380 names.

export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly flags?: readonly string[];
  readonly syscalls: readonly SeccompRule[];
}

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly { index: number; value: number; valueTwo?: number; op: string }[];
}

const allow = 'SCMP_ACT_ALLOW';
const eperm = 1;
const enosys = 38;

const list = (text: string): string[] => text.split(/\s+/).filter(Boolean);

/** Harmless to others whoever calls them, by what they are about. */
const always = list(`
  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
  send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

  access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
  fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
  flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl
  lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open
  openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
  rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync
  sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice
  write writev

  fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr removexattr
  setxattr getxattrat listxattrat removexattrat setxattrat

  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
  fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
  io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64
  select signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64

  brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect
  mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages

  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
  msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget

  execve execveat exit exit_group fork vfork wait4 waitid waitpid getpgid getpgrp getpid getppid getsid gettid setpgid
  setsid pidfd_open pidfd_send_signal prctl restart_syscall rseq set_robust_list get_robust_list set_tid_address
  set_thread_area get_thread_area

  kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
  rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill

  futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake

  adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
  clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
  timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 times

  getcpu getpriority ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity
  sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
  sched_setattr sched_setparam sched_setscheduler sched_yield setpriority

  capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
  getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
  setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32

  getrandom getrlimit getrusage prlimit64 setrlimit sysinfo ugetrlimit uname

  landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp

  process_vm_readv process_vm_writev ptrace
`);

/** Only some processors have them. */
const byArchitecture: Readonly<Record<string, string[]>> = {
  x64: list('arch_prctl modify_ldt'),
  arm64: list('arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls'),
  riscv64: list('riscv_flush_icache riscv_hwprobe'),
  ppc64: list('sync_file_range2 swapcontext'),
  s390x: list('s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr'),
};

/** What a capability opens besides. */
const byCapability: Readonly<Record<string, string[]>> = {
  CAP_BPF: list('bpf'),
  CAP_DAC_READ_SEARCH: list('open_by_handle_at'),
  CAP_PERFMON: list('perf_event_open'),
  CAP_SYSLOG: list('syslog'),
  CAP_SYS_ADMIN:
    list(`bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
    move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
    unshare`),
  CAP_SYS_BOOT: list('reboot'),
  CAP_SYS_CHROOT: list('chroot'),
  CAP_SYS_MODULE: list('delete_module finit_module init_module'),
  CAP_SYS_NICE: list('get_mempolicy mbind set_mempolicy set_mempolicy_home_node'),
  CAP_SYS_PACCT: list('acct'),
  CAP_SYS_PTRACE: list('kcmp pidfd_getfd process_madvise'),
  CAP_SYS_RAWIO: list('ioperm iopl'),
  CAP_SYS_TIME: list('clock_settime clock_settime64 settimeofday stime'),
  CAP_SYS_TTY_CONFIG: list('vhangup'),
};

/** Node's name of the processor → libseccomp's names, with those whose programs it runs too. */
const architectures: Readonly<Record<string, string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
  riscv64: ['SCMP_ARCH_RISCV64'],
  ppc64: ['SCMP_ARCH_PPC64LE'],
  s390x: ['SCMP_ARCH_S390X', 'SCMP_ARCH_S390'],
};

// personality(2): Linux, BSD, UNAME26 of each, and 0xffffffff, which only asks.
const personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];
const afVsock = 40;
// clone(2): any CLONE_NEW* flag makes a namespace, which wants CAP_SYS_ADMIN.
const cloneNamespaceFlags = 0x7e020000;

/** The profile for a container with these capabilities (CAP_…). `arch` as in process.arch. */
export function runtimeDefaultSeccomp(capabilities: readonly string[], arch: string): SeccompProfile {
  const names = new Set([...always, ...(byArchitecture[arch] ?? [])]);
  for (const capability of capabilities) for (const name of byCapability[capability] ?? []) names.add(name);
  const rules: SeccompRule[] = [
    { names: [...names], action: allow },
    { names: ['socket'], action: allow, args: [{ index: 0, value: afVsock, op: 'SCMP_CMP_NE' }] },
    ...personalities.map((value) => ({
      names: ['personality'],
      action: allow,
      args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
    })),
  ];
  if (!capabilities.includes('CAP_SYS_ADMIN')) rules.push(...cloneWithoutNamespaces(arch));
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: eperm,
    architectures: architectures[arch] ?? [],
    syscalls: rules,
  };
}

function cloneWithoutNamespaces(arch: string): SeccompRule[] {
  // s390 passes clone's flags second.
  const index = arch === 's390x' ? 1 : 0;
  return [
    {
      names: ['clone'],
      action: allow,
      args: [{ index, value: cloneNamespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    // Its flags lie in memory, which seccomp cannot read. ENOSYS makes libc fall back to clone.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: enosys },
  ];
}
