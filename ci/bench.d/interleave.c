/*
 * interleave ROUNDS FILE: FILE has lines `NAME<tab>COMMAND...`; several commands in a row have a word `;` between them. Runs
 * the lines by turns, without a shell, ROUNDS times after one that does not count, and prints
 * `NAME<tab>MEDIAN<tab>LEAST<tab>MEMORY`: milliseconds, and in MiB the most that a process of it had resident. A command that
 * fails ends it all.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS = 32, WORDS = 64, ROUNDS = 1000 };

struct command {
    char *name;
    char *words[WORDS];
    double times[ROUNDS];
    long kilobytes;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void run_words(struct command *command, char **words, int shows_errors)
{
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    if (!shows_errors)
        posix_spawn_file_actions_adddup2(&files, 1, 2);
    pid_t pid;
    int status, error = posix_spawnp(&pid, words[0], &files, NULL, words, environ);
    if (error)
        errx(1, "%s: %s", words[0], strerror(error));
    struct rusage usage;
    wait4(pid, &status, 0, &usage);
    if (usage.ru_maxrss > command->kilobytes)
        command->kilobytes = usage.ru_maxrss;
    posix_spawn_file_actions_destroy(&files);
    if (status)
        errx(1, "%s: %s ended with status %#x", command->name, words[0], status);
}

static double run(struct command *command, int shows_errors)
{
    double start = now();
    for (char **words = command->words; *words;) {
        char *one[WORDS];
        int count = 0;
        while (*words && strcmp(*words, ";"))
            one[count++] = *words++;
        one[count] = NULL;
        words += *words != NULL;
        run_words(command, one, shows_errors);
    }
    return now() - start;
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
        printf("%s\t%.2f\t%.2f\t%.1f\n", commands[at].name, commands[at].times[rounds / 2], commands[at].times[0],
               commands[at].kilobytes / 1024.0);
    }
}
