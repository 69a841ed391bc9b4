/* Look, from inside a container, for ways to the files and directories of others: what it finds it prints.
 *
 *   overwrite STOP       Until there is a file STOP, again and again, for each other process, look at its exe, its root, its working
 *                        directory and its descriptors. Prints, once each:
 *                            exe DEVICE INODE NAME      what it runs
 *                            map DEVICE INODE NAME      what it has mapped
 *                            write DEVICE INODE NAME    one of these, which then could be opened to be written to
 *                            dir DEVICE INODE NAME      a directory behind a descriptor, root or working directory
 *                            caps 0 MASK NAME           what it is permitted, so that who traces it gets that
 *
 * Nothing is written to, whatever can be opened.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 256 };
static struct { dev_t device; ino_t inode; int fd, written; char name[256]; } seen[MANY];
static int count;

static int known(const struct stat *info)
{
    for (int i = 0; i < count; i++)
        if (seen[i].device == info->st_dev && seen[i].inode == info->st_ino)
            return 1;
    return 0;
}

static void look(const char *link, const char *what, int keep)
{
    struct stat info, root;
    char name[256] = "";
    int fd = open(link, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &info) < 0 || known(&info) || count == MANY || (!keep && !S_ISDIR(info.st_mode))) {
        close(fd);
        return;
    }
    if (!keep && stat("/", &root) == 0 && info.st_dev == root.st_dev && info.st_ino == root.st_ino) {
        close(fd);
        return;
    }
    if (readlink(link, name, sizeof name - 1) < 0)
        strcpy(name, "?");
    seen[count].device = info.st_dev;
    seen[count].inode = info.st_ino;
    seen[count].fd = keep ? fd : -1;
    strcpy(seen[count++].name, name);
    printf("%s %llu %llu %s\n", what, (unsigned long long)info.st_dev, (unsigned long long)info.st_ino, name);
    fflush(stdout);
    if (!keep)
        close(fd);
}

/* While it runs a file cannot be opened for writing; when it has ended it can, by a descriptor that was kept. */
static void reopen(void)
{
    char link[64];
    for (int i = 0; i < count; i++) {
        if (seen[i].fd < 0 || seen[i].written)
            continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", seen[i].fd);
        int fd = open(link, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        close(fd);
        seen[i].written = 1;
        printf("write %llu %llu %s\n", (unsigned long long)seen[i].device, (unsigned long long)seen[i].inode, seen[i].name);
        fflush(stdout);
    }
}

/* The permitted capabilities of a process, if nobody had these before; everybody may read that. */
static void permitted(const char *pid)
{
    static unsigned long long masks[MANY];
    static int masks_seen;
    char path[300], line[256], name[32] = "?";
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *status = fopen(path, "re");
    while (status && fgets(line, sizeof line, status)) {
        sscanf(line, "Name: %31[^\n]", name);
        sscanf(line, "CapPrm: %llx", &mask);
    }
    if (status)
        fclose(status);
    for (int i = 0; i < masks_seen; i++)
        if (masks[i] == mask)
            return;
    if (masks_seen == MANY)
        return;
    masks[masks_seen++] = mask;
    printf("caps 0 %llu %s\n", mask, name);
    fflush(stdout);
}

static void look_at(const char *pid)
{
    char path[300];
    permitted(pid);
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    look(path, "exe", 1);
    snprintf(path, sizeof path, "/proc/%s/root", pid);
    look(path, "dir", 0);
    snprintf(path, sizeof path, "/proc/%s/cwd", pid);
    look(path, "dir", 0);
    for (int fd = 3; fd < 24; fd++) {
        snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, fd);
        look(path, "dir", 0);
    }
    snprintf(path, sizeof path, "/proc/%s/map_files", pid);
    DIR *maps = opendir(path);
    for (struct dirent *entry; maps && (entry = readdir(maps));) {
        char file[600];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            look(file, "map", 1);
    }
    if (maps)
        closedir(maps);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    char self[16];
    snprintf(self, sizeof self, "%d", getpid());
    printf("ready\n");
    fflush(stdout);
    while (access(argv[1], F_OK) < 0) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; proc && (entry = readdir(proc));)
            if (isdigit((unsigned char)entry->d_name[0]) && strcmp(entry->d_name, self))
                look_at(entry->d_name);
        if (proc)
            closedir(proc);
        reopen();
    }
    printf("end\n");
    return 0;
}
