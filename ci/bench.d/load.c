/*
 * load serve PORT: the inside of a container: a TCP server that does what a connection's first octet says, and
 * a UDP one that sends back what comes. load WHAT ADDRESS PORT AMOUNT: the outside, which does a certain amount of work:
 * `into` and `from` move MiB, `trips` are requests of an octet and their answers, one after the other on one connection,
 * `connections` the same on one connection each, `datagrams` are sent and come back, some at a time.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1 << 20, UNDER_WAY = 32, DATAGRAM = 64 };

static char buffer[MIB];

static int open_socket(int type, const char *address, const char *port, int serve)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    int fd = socket(AF_INET, type, 0), yes = 1;
    if (!inet_aton(address, &to.sin_addr))
        errx(2, "%s: no address", address);
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if ((serve ? bind : connect)(fd, (struct sockaddr *)&to, sizeof to) || (serve && type == SOCK_STREAM && listen(fd, 128)))
        err(1, "%s:%s", address, port);
    return fd;
}

static int all(ssize_t (*move)(int, void *, size_t, int), int fd, size_t length)
{
    for (ssize_t moved; length > 0; length -= moved)
        if ((moved = move(fd, buffer, length < MIB ? length : MIB, MSG_NOSIGNAL)) <= 0)
            return 0;
    return 1;
}

static ssize_t put(int fd, void *from, size_t length, int flags)
{
    return send(fd, from, length, flags);
}

static void serve_one(int fd)
{
    char what;
    unsigned count;
    if (recv(fd, &what, 1, 0) != 1)
        return;
    if (what == 't')
        while (all(recv, fd, 1) && all(put, fd, 1))
            ;
    else if (recv(fd, &count, sizeof count, MSG_WAITALL) == sizeof count && all(what == 'i' ? recv : put, fd, (size_t)count * MIB))
        all(put, fd, 1);
}

static void serve(const char *port)
{
    int datagrams = open_socket(SOCK_DGRAM, "0.0.0.0", port, 1), streams = open_socket(SOCK_STREAM, "0.0.0.0", port, 1);
    if (fork() == 0)
        for (struct sockaddr_in from;;) {
            socklen_t length = sizeof from;
            ssize_t got = recvfrom(datagrams, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
            if (got >= 0)
                sendto(datagrams, buffer, got, 0, (struct sockaddr *)&from, length);
        }
    for (;;) {
        int fd = accept(streams, NULL, NULL), yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        serve_one(fd);
        close(fd);
    }
}

static int begin(const char *address, const char *port, char what)
{
    int fd = open_socket(SOCK_STREAM, address, port, 0);
    /* No port waits for late segments afterwards: there are not enough of them. */
    struct linger none = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    if (send(fd, &what, 1, MSG_MORE) != 1)
        err(1, "send");
    return fd;
}

static void trip(int fd)
{
    if (!all(put, fd, 1) || !all(recv, fd, 1))
        errx(1, "the connection has ended");
}

static void echo(int fd, unsigned amount)
{
    struct timeval patience = { 0, 20000 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (unsigned back = 0, under_way = 0, silent = 0; back < amount;) {
        for (; under_way < UNDER_WAY; under_way++)
            send(fd, buffer, DATAGRAM, 0);
        if (recv(fd, buffer, DATAGRAM, 0) > 0) {
            back++, under_way--, silent = 0;
        } else {
            /* They are lost. */
            under_way = 0;
            if (++silent > 250)
                errx(1, "no datagram comes back");
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve"))
        serve(argv[2]);
    if (argc != 5)
        errx(2, "usage: load serve PORT | into|from|trips|connections|datagrams ADDRESS PORT AMOUNT");
    const char *address = argv[2], *port = argv[3];
    unsigned amount = atoi(argv[4]);
    switch (argv[1][0]) {
    case 'i':
    case 'f': {
        int fd = begin(address, port, argv[1][0]);
        if (send(fd, &amount, sizeof amount, 0) != sizeof amount || !all(argv[1][0] == 'i' ? put : recv, fd, (size_t)amount * MIB)
            || !all(recv, fd, 1))
            err(1, "%s", argv[1]);
        break;
    }
    case 't':
        for (int fd = begin(address, port, 't'); amount > 0; amount--)
            trip(fd);
        break;
    case 'c':
        for (; amount > 0; amount--) {
            int fd = begin(address, port, 't');
            trip(fd);
            close(fd);
        }
        break;
    case 'd':
        echo(open_socket(SOCK_DGRAM, address, port, 0), amount);
        break;
    default:
        errx(2, "what is %s?", argv[1]);
    }
}
