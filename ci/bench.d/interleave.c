/*
 * interleave ROUNDS FILE: FILE has lines `NAME<tab>COMMAND...`. Runs them by turns, without a shell, ROUNDS times after one
 * that does not count, and prints `NAME<tab>MEDIAN<tab>LEAST` in milliseconds. A command that fails ends it all.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS = 32, WORDS = 64, ROUNDS = 1000 };

struct command {
    char *name;
    char *words[WORDS];
    double times[ROUNDS];
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static double run(struct command *command, int shows_errors)
{
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    if (!shows_errors)
        posix_spawn_file_actions_adddup2(&files, 1, 2);
    double start = now();
    pid_t pid;
    int status, error = posix_spawnp(&pid, command->words[0], &files, NULL, command->words, environ);
    if (error)
        errx(1, "%s: %s", command->words[0], strerror(error));
    waitpid(pid, &status, 0);
    double took = now() - start;
    posix_spawn_file_actions_destroy(&files);
    if (status)
        errx(1, "%s: it ended with status %#x", command->name, status);
    return took;
}

static int by_value(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    int rounds = argc == 3 ? atoi(argv[1]) : 0;
    FILE *file = argc == 3 ? fopen(argv[2], "r") : NULL;
    if (rounds < 1 || rounds > ROUNDS || !file)
        errx(2, "usage: interleave ROUNDS FILE");
    static struct command commands[COMMANDS];
    int count = 0;
    char *line = NULL;
    for (size_t size = 0; count < COMMANDS && getline(&line, &size, file) > 0; count++, line = NULL, size = 0) {
        commands[count].name = strtok(line, "\t");
        char *word;
        for (int at = 0; at < WORDS - 1 && (word = strtok(NULL, "\t \n")); at++)
            commands[count].words[at] = word;
    }
    for (int round = 0; round <= rounds; round++)
        for (int at = 0; at < count; at++) {
            double took = run(&commands[at], round == 0);
            if (round > 0)
                commands[at].times[round - 1] = took;
        }
    for (int at = 0; at < count; at++) {
        qsort(commands[at].times, rounds, sizeof(double), by_value);
        printf("%s\t%.2f\t%.2f\n", commands[at].name, commands[at].times[rounds / 2], commands[at].times[0]);
    }
}
