// What a program in a container tries in order to get out, one attempt a call: `attempts WHAT...`. Prints `held`, with the
// kernel's answer, or `ESCAPED`, with what was reached.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int held(const char *what) {
    printf("held %s: %s\n", what, strerror(errno));
    return 0;
}
static int escaped(const char *what) {
    printf("ESCAPED %s\n", what);
    return 1;
}
static int judge(long answer, const char *what) { return answer < 0 ? held(what) : escaped(what); }

// The host's process of that number, if it is to be seen at all.
static int trace(int pid) { return judge(ptrace(PTRACE_ATTACH, pid, 0, 0), "ptrace"); }

// A device's node, made here, and read.
static int node(const char *kind, int major_number, int minor_number) {
    char path[] = "/tmp-node";
    unlink(path);
    if (mknod(path, (*kind == 'b' ? S_IFBLK : S_IFCHR) | 0600, makedev(major_number, minor_number)) < 0) return held("mknod");
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    unlink(path);
    return judge(fd, "open of the node");
}

static int keyrings(void) {
    // The user's keyring is that of the host's user of the same number.
    return judge(syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -4 /* USER_KEYRING */, 1), "user keyring") |
           judge(syscall(SYS_add_key, "user", "berth-escape", "x", 1, -4), "add_key");
}

// Of every descriptor and every process that is to be seen, the namespaces.
static int namespaces(void) {
    int result = 0, tried = 0;
    char path[300];
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(proc));) {
        if (atoi(entry->d_name) == 0) continue;
        for (const char **kind = (const char *[]){"mnt", "pid", "net", "user", "ipc", "uts", 0}; *kind; kind++) {
            struct stat theirs, own;
            snprintf(path, sizeof path, "/proc/%s/ns/%s", entry->d_name, *kind);
            int fd = open(path, O_RDONLY);
            if (fd < 0 || fstat(fd, &theirs) < 0) continue;
            snprintf(path, sizeof path, "/proc/self/ns/%s", *kind);
            if (stat(path, &own) < 0 || own.st_ino != theirs.st_ino) result |= escaped("a namespace of somebody else");
            tried++;
            close(fd);
        }
    }
    for (int fd = 3; fd < 1024; fd++)
        if (fd != dirfd(proc) && fcntl(fd, F_GETFD) >= 0) result |= escaped("an open descriptor");
    if (unshare(CLONE_NEWUSER) == 0) result |= escaped("a new user namespace"); else held("unshare");
    printf("%d namespaces, all of them its own\n", tried);
    return result;
}

// System calls that have led out before, or that give the host away.
static int calls(void) {
    char buffer[64] = {0};
    struct { unsigned bytes; int type; char data[8]; } handle = {8, 1, {2}};
    int result = judge(syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY), "open_by_handle_at");
    result |= judge(syscall(SYS_syslog, 3, buffer, sizeof buffer), "syslog");
    result |= judge(syscall(SYS_bpf, 0, buffer, sizeof buffer), "bpf");
    result |= judge(syscall(SYS_perf_event_open, buffer, -1, 0, -1, 0), "perf_event_open");
    result |= judge(syscall(SYS_init_module, buffer, 1, ""), "init_module");
    result |= judge(syscall(SYS_kexec_load, 0, 0, 0, 0), "kexec_load");
    result |= judge(syscall(SYS_swapon, "/none", 0), "swapon");
    result |= judge(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0), "reboot");
    result |= judge(syscall(SYS_userfaultfd, 0), "userfaultfd");
    result |= judge(mount("none", "/mnt", "tmpfs", 0, ""), "mount");
    result |= judge(mount(0, "/proc/sys", 0, MS_REMOUNT | MS_BIND, 0), "remount of /proc/sys");
    result |= judge(umount2("/proc/sys", MNT_DETACH), "umount");
    result |= judge(syscall(428 /* open_tree */, AT_FDCWD, "/", 1), "open_tree");
    result |= judge(syscall(430 /* fsopen */, "tmpfs", 0), "fsopen");
    result |= judge(syscall(425 /* io_uring_setup */, 1, buffer), "io_uring_setup");
    return result;
}

// What is typed by a program into its terminal.
static int type(const char *text) {
    for (; *text; text++)
        if (ioctl(0, TIOCSTI, text) < 0) return held("TIOCSTI");
    printf("typed\n");
    return 0;
}

// For SECONDS: looks for a process that runs a file that is not of this root, and writes to that file.
static int executables(int seconds) {
    int result = 0, seen = 0;
    char path[300];
    struct stat root, file;
    stat("/bin/busybox", &root);
    time_t end = time(0) + seconds;
    printf("watching\n");
    fflush(stdout);
    while (time(0) < end) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(proc));) {
            if (atoi(entry->d_name) == 0) continue;
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            if (stat(path, &file) < 0) continue;
            seen++;
            if (file.st_dev == root.st_dev) continue;
            printf("a foreign program, %ld bytes\n", (long)file.st_size);
            int fd = open(path, O_WRONLY);
            if (fd >= 0 && write(fd, "x", 1) == 1) result |= escaped("the program's file");
        }
        closedir(proc);
    }
    printf("%s\n", seen ? "looked" : "saw nothing");
    return result;
}

// For SECONDS: a folder that is a link at every other moment.
static int exchange(const char *folder, const char *link, int seconds) {
    time_t end = time(0) + seconds;
    char other[300];
    snprintf(other, sizeof other, "%s.link", folder);
    mkdir(folder, 0755);
    unlink(other);
    symlink(link, other);
    printf("exchanging\n");
    fflush(stdout);
    while (time(0) < end) syscall(SYS_renameat2, AT_FDCWD, folder, AT_FDCWD, other, 2 /* RENAME_EXCHANGE */);
    return 0;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "trace") && count == 3) return trace(atoi(words[2]));
    if (!strcmp(what, "node") && count == 5) return node(words[2], atoi(words[3]), atoi(words[4]));
    if (!strcmp(what, "keyrings")) return keyrings();
    if (!strcmp(what, "namespaces")) return namespaces();
    if (!strcmp(what, "calls")) return calls();
    if (!strcmp(what, "type") && count == 3) return type(words[2]);
    if (!strcmp(what, "executables") && count == 3) return executables(atoi(words[2]));
    if (!strcmp(what, "exchange") && count == 5) return exchange(words[2], words[3], atoi(words[4]));
    fprintf(stderr, "attempts: unknown attempt\n");
    return 2;
}
