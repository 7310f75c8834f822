/* floor [MEMORY PIDS] COMMAND [ARG...]: a box, a group or both, made by the system calls that it takes
 * and by nothing else. No signals are passed on, no error is explained, and nothing dies with anything:
 * what this takes, the kernel takes.
 *
 * With -DBOX it is the box of `ns-enter uts,pid,mnt,ipc`, with -DGROUP the group of
 * `cg-set mem=64M pids=50` on cgroup v1: MEMORY and PIDS are the directories to make, one in each tree.
 * With -DROOT=DIR besides, the root is an overlay of DIR with changes in memory, with a /proc, a /dev and the
 * machine's /sys, as `ovl-mount --tmp` and `root-enter` make it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef ROOT
#define NEW "/mnt/root"

static const struct {
	const char *name;
	int major, minor;
} devices[] = { { NEW "/dev/null", 1, 3 },   { NEW "/dev/zero", 1, 5 },	  { NEW "/dev/full", 1, 7 },
		{ NEW "/dev/random", 1, 8 }, { NEW "/dev/urandom", 1, 9 }, { NEW "/dev/tty", 5, 0 } };
static const char *const links[][2] = { { "/proc/self/fd", NEW "/dev/fd" },
					{ "/proc/self/fd/0", NEW "/dev/stdin" },
					{ "/proc/self/fd/1", NEW "/dev/stdout" },
					{ "/proc/self/fd/2", NEW "/dev/stderr" },
					{ "pts/ptmx", NEW "/dev/ptmx" } };

static int enter_root(void)
{
	unsigned i;

	if (mount("tmpfs", "/mnt", "tmpfs", 0, "mode=700") != 0 || mkdir("/mnt/upper", 0755) != 0 ||
	    mkdir("/mnt/work", 0755) != 0 || mkdir(NEW, 0755) != 0 ||
	    mount("overlay", NEW, "overlay", MS_NOSUID | MS_NODEV,
		  "lowerdir=" ROOT ",upperdir=/mnt/upper,workdir=/mnt/work,volatile") != 0 ||
	    mount("/sys", NEW "/sys", 0, MS_BIND | MS_REC, 0) != 0 ||
	    mount("proc", NEW "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0) != 0 ||
	    mount("tmpfs", NEW "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755") != 0)
		return 0;
	for (i = 0; i < sizeof(devices) / sizeof(*devices); i++)
		if (mknod(devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) != 0)
			return 0;
	for (i = 0; i < sizeof(links) / sizeof(*links); i++)
		if (symlink(links[i][0], links[i][1]) != 0)
			return 0;
	return mkdir(NEW "/dev/pts", 0755) == 0 && mkdir(NEW "/dev/shm", 0755) == 0 &&
	       mount("devpts", NEW "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666,gid=5") ==
		       0 &&
	       mount("tmpfs", NEW "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777") == 0 &&
	       chdir(NEW) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 &&
	       chdir("/") == 0;
}
#endif

#ifdef BOX
#define NAMESPACES (CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC)

static int enter_box(void)
{
#ifdef ROOT
	return mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) == 0 && enter_root();
#endif
	return mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) == 0 &&
	       mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0) == 0;
}
#else
#define NAMESPACES 0

static int enter_box(void)
{
	return 1;
}
#endif

#ifdef GROUP
#define TREES 2
static int doors[TREES];

static int put(int dir, const char *file, const char *value, size_t length)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	int put = fd >= 0 && write(fd, value, length) == (ssize_t)length;

	close(fd);
	return put;
}

static int make_group(char **dirs)
{
	int i, dir[TREES];

	for (i = 0; i < TREES; i++) {
		if (mkdir(dirs[i], 0755) != 0)
			return 0;
		dir[i] = open(dirs[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		/* One thread moves by itself (Linux 5.5), a process waits for all forks on the machine. */
		doors[i] = openat(dir[i], "tasks", O_WRONLY | O_CLOEXEC);
		if (doors[i] < 0)
			return 0;
	}
	return put(dir[0], "memory.limit_in_bytes", "67108864", 8) &&
	       put(dir[0], "memory.memsw.limit_in_bytes", "67108864", 8) && put(dir[1], "pids.max", "50", 2);
}

static int enter_group(void)
{
	return write(doors[0], "0", 1) == 1 && write(doors[1], "0", 1) == 1;
}

static int remove_group(char **dirs)
{
	int first = rmdir(dirs[0]);

	return rmdir(dirs[1]) == 0 && first == 0;
}
#else
#define TREES 0

static int make_group(char **dirs)
{
	return dirs != 0;
}

static int enter_group(void)
{
	return 1;
}

static int remove_group(char **dirs)
{
	return dirs != 0;
}
#endif

static int run(char **command, char **environment)
{
	int status;
	long child = syscall(SYS_clone, NAMESPACES | SIGCHLD, 0, 0, 0, 0);

	if (child < 0)
		return 125;
	if (child == 0) {
		if (!enter_group() || !enter_box())
			_exit(125);
		execve(command[0], command, environment);
		_exit(126);
	}
	if (waitpid(child, &status, 0) != child)
		return 125;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv, char **environment)
{
	int status = 125;

	if (argc < 2 + TREES)
		return 125;
	if (make_group(argv + 1))
		status = run(argv + 1 + TREES, environment);
	return remove_group(argv + 1) ? status : 125;
}
