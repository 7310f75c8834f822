/* Tries one thing that a box must not be able to do, and says what the kernel answered. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void *thread(void *unused) { return unused; }

static long start_thread(void)
{
	pthread_t id;
	int error = pthread_create(&id, NULL, thread, NULL);

	if (error) {
		errno = error;
		return -1;
	}
	return pthread_join(id, NULL);
}

static long start_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0);
}

static long use_port(int (*use)(int, const struct sockaddr *, socklen_t), long port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};

	return use(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof(address));
}

/* Connects to the abstract socket of this number. */
static long reach_abstract(long number)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = sprintf(address.sun_path + 1, "chainbox-%ld", number);

	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address,
		       offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* Asks a device something that only an ioctl tells. */
static long ask_device(void)
{
	unsigned int number;

	return ioctl(open("/dev/ptmx", O_RDWR | O_NOCTTY), TIOCGPTN, &number);
}

#ifdef __x86_64__
static long by_i386(void)
{
	long result;

	/* getpid, by the entry point of 32-bit programs. */
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "r8", "r9", "r10", "r11", "memory");
	return result;
}
#endif

/* With arguments that the kernel looks at, and refuses, before it asks for a capability. */
static long attack(const char *name, long arg)
{
	if (!strcmp(name, "unshare"))
		return unshare(CLONE_NEWUSER);
	if (!strcmp(name, "clone"))
		return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (!strcmp(name, "clone3"))
		return syscall(SYS_clone3, NULL, 0);
	if (!strcmp(name, "mount"))
		return syscall(SYS_mount, NULL, NULL, NULL, 0, NULL);
	if (!strcmp(name, "keyctl"))
		return syscall(SYS_keyctl, 0, -3, 0); /* KEYCTL_GET_KEYRING_ID of the session */
	if (!strcmp(name, "bpf"))
		return syscall(SYS_bpf, 5, NULL, 1 << 20);
	if (!strcmp(name, "io_uring"))
		return syscall(SYS_io_uring_setup, 1, NULL);
	if (!strcmp(name, "userfaultfd"))
		return syscall(SYS_userfaultfd, 1); /* UFFD_USER_MODE_ONLY, which everybody may */
	if (!strcmp(name, "open_by_handle_at"))
		return syscall(SYS_open_by_handle_at, -1, NULL, 0);
	if (!strcmp(name, "ptrace"))
		return ptrace(arg ? PTRACE_ATTACH : PTRACE_TRACEME, arg, 0, 0);
	if (!strcmp(name, "kill"))
		return kill(arg ? arg : getpid(), 0);
	if (!strcmp(name, "raise"))
		return pthread_kill(pthread_self(), 0);
	if (!strcmp(name, "socket"))
		return syscall(SYS_socket, arg, SOCK_STREAM, 0);
	if (!strcmp(name, "thread"))
		return start_thread();
	if (!strcmp(name, "fork"))
		return start_process();
	if (!strcmp(name, "inject"))
		return ioctl(0, TIOCSTI, "x");
	if (!strcmp(name, "connect"))
		return use_port(connect, arg);
	if (!strcmp(name, "bind"))
		return use_port(bind, arg);
	if (!strcmp(name, "abstract"))
		return reach_abstract(arg);
	if (!strcmp(name, "device"))
		return ask_device();
	if (!strcmp(name, "syscall"))
		return syscall(arg, -1, -1, -1, -1, -1, -1);
#ifdef __x86_64__
	if (!strcmp(name, "i386"))
		return by_i386();
	if (!strcmp(name, "x32"))
		return syscall(0x40000000 | SYS_getpid);
#endif
	fprintf(stderr, "no such attack: %s\n", name);
	exit(99);
}

int main(int argc, char **argv)
{
	long result = attack(argv[1], argc > 2 ? atol(argv[2]) : 0);

	puts(result < 0 ? strerrorname_np(errno) : "done");
	return 0;
}
