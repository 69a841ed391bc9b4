/* Makes system calls as it is told and prints what they gave: for tests of seccomp, which have to try the odd ones too.
 *
 *   calls [NUMBER[,ARGUMENT]...]...     a line each: "ok VALUE" or "errno NUMBER"; SIGSYS that is caught: "trap NUMBER"
 *
 * An argument is a number, or a string if it begins with "/". With "@" before it a call is made in a child, which with
 * "@!" catches SIGSYS; "signal NUMBER" if a signal ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void trapped(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    printf("trap %d\n", info->si_errno);
    fflush(stdout);
    _exit(0);
}

static void call(char *text)
{
    long values[7] = {0};
    int count = 0;
    for (char *word = strtok(text, ","); word && count < 7; word = strtok(NULL, ","))
        values[count++] = word[0] == '/' ? (long)word : (long)strtoul(word, NULL, 0);
    long value = syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
    if (value < 0)
        printf("errno %d\n", errno);
    else
        printf("ok %ld\n", value);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '@') {
            call(argv[i]);
            continue;
        }
        int status;
        pid_t child = fork();
        if (child == 0) {
            if (argv[i][1] == '!')
                sigaction(SIGSYS, &action, NULL);
            call(argv[i] + 1 + (argv[i][1] == '!'));
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status)) {
            printf("signal %d\n", WTERMSIG(status));
            fflush(stdout);
        }
    }
    return 0;
}
