/* The floor that every proxy is compared with: a relay that knows nothing of PostgreSQL.
 *
 *     relay LISTEN:TARGET [LISTEN:TARGET ...]        ports of 127.0.0.1
 *
 * One server connection per client, one process, one epoll set; what one recv gives goes to the other side with one send.
 * A side that takes no more is waited for, and its peer is not read meanwhile. That is the least that any proxy must do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, EVENTS = 256 };

struct side {
    int fd;
    int target;         /* of a listener: the port to connect to; else 0 */
    struct side *peer;
    char *pending;      /* what the socket did not take yet */
    size_t pending_from, pending_to;
    int closed;         /* freed after the round: a later event of it may still name it */
    struct side *next_closed;
};

static int poller;
static char buffer[BUFFER];
static struct side *closed_sides;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static struct side *watch(int fd, int target) {
    struct side *side = calloc(1, sizeof *side);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = side};
    if (side == NULL)
        fail("calloc");
    side->fd = fd;
    side->target = target;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
    return side;
}

static void want(struct side *side, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = side};
    epoll_ctl(poller, EPOLL_CTL_MOD, side->fd, &event);
}

static void close_side(struct side *side) {
    close(side->fd);
    free(side->pending);
    side->pending = NULL;
    side->closed = 1;
    side->next_closed = closed_sides;
    closed_sides = side;
}

static void close_both(struct side *side) {
    close_side(side->peer);
    close_side(side);
}

static void accept_client(struct side *listener) {
    int one = 1, client = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    struct sockaddr_in address = loopback(listener->target);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) < 0) {
        close(client);
        close(server);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct side *left = watch(client, 0), *right = watch(server, 0);
    left->peer = right;
    right->peer = left;
}

static void keep(struct side *to, size_t from, size_t length) {
    to->pending = malloc(length - from);
    if (to->pending == NULL)
        fail("malloc");
    memcpy(to->pending, buffer + from, length - from);
    to->pending_from = 0;
    to->pending_to = length - from;
    want(to, EPOLLOUT); /* neither side is read until it is gone: enough for a floor, and simple */
    want(to->peer, 0);
}

static void readable(struct side *side) {
    ssize_t length = recv(side->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        close_both(side);
        return;
    }
    ssize_t sent = send(side->peer->fd, buffer, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        close_both(side);
    else if (sent < length)
        keep(side->peer, sent < 0 ? 0 : sent, length);
}

static void writable(struct side *side) {
    size_t left = side->pending_to - side->pending_from;
    ssize_t sent = send(side->fd, side->pending + side->pending_from, left, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            close_both(side);
        return;
    }
    side->pending_from += sent;
    if (side->pending_from == side->pending_to) {
        free(side->pending);
        side->pending = NULL;
        want(side, EPOLLIN);
        want(side->peer, EPOLLIN);
    }
}

static void handle(struct side *side, unsigned events) {
    if (side->closed)
        return;
    if (side->target)
        accept_client(side);
    else if (side->pending != NULL)
        writable(side);
    else if (side->peer->pending != NULL && events & (EPOLLHUP | EPOLLERR))
        close_both(side); /* it is not read now, and would be reported again and again */
    else if (side->peer->pending == NULL)
        readable(side);
}

static void listen_on(int port, int target) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        fail("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        fail("listen");
    watch(fd, target);
}

int main(int count, char **words) {
    struct epoll_event events[EVENTS];
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 1; i < count; i++) {
        int port, target;
        if (sscanf(words[i], "%d:%d", &port, &target) != 2)
            return fprintf(stderr, "relay LISTEN:TARGET ...\n"), 2;
        listen_on(port, target);
    }
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++)
            handle(events[i].data.ptr, events[i].events);
        while (closed_sides != NULL) {
            struct side *gone = closed_sides;
            closed_sides = gone->next_closed;
            free(gone);
        }
    }
}
