//go:build ignore

/*
 * Service addresses, at the socket: a connection to a service becomes one to a backend of it before there is any packet. So nothing has to be
 * translated afterwards, and no table of connections is kept. The programs are attached to a cgroup and are for all sockets that processes
 * below it use, whatever network namespace these are in.
 *
 * IPv4 addresses are kept as IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2). An IPv6 socket gives the same when it is used for IPv4, so one
 * table serves both.
 */
#include "kernel.h"

/* A port at an address, in network byte order. In maps, all bytes of a key count: there is no padding. */
struct address {
	__be32 ip[4];
	__be16 port;
	__u8 protocol;
	__u8 zero;
};

struct service {
	__u32 backends; /* 0 refuses connections */
};

/* Slots 0 to backends-1 of a service have a backend each. */
struct slot {
	struct address service;
	__u32 index;
};

/* What a datagram socket sent to, by the address that its answers come from. */
struct flow {
	__u64 cookie;
	struct address backend;
	__u32 zero;
};

/* What a socket was connected to, as its program named it and as it is. */
struct peer {
	struct address service;
	struct address backend;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, struct address);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct slot);
	__type(value, struct address);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, struct address);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct peer);
} peers SEC(".maps");

enum verdict { PASS, MOVE, REFUSE };

static __always_inline struct address address4(const struct bpf_sock_addr *ctx)
{
	return (struct address){
		.ip = {0, 0, bpf_htonl(0xffff), ctx->user_ip4},
		.port = ctx->user_port,
		.protocol = ctx->protocol,
	};
}

static __always_inline struct address address6(const struct bpf_sock_addr *ctx)
{
	return (struct address){
		.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]},
		.port = ctx->user_port,
		.protocol = ctx->protocol,
	};
}

static __always_inline void rewrite4(struct bpf_sock_addr *ctx, const struct address *to)
{
	ctx->user_ip4 = to->ip[3];
	ctx->user_port = to->port;
}

static __always_inline void rewrite6(struct bpf_sock_addr *ctx, const struct address *to)
{
	ctx->user_ip6[0] = to->ip[0];
	ctx->user_ip6[1] = to->ip[1];
	ctx->user_ip6[2] = to->ip[2];
	ctx->user_ip6[3] = to->ip[3];
	ctx->user_port = to->port;
}

static __always_inline int same(const struct address *a, const struct address *b)
{
	return a->ip[0] == b->ip[0] && a->ip[1] == b->ip[1] && a->ip[2] == b->ip[2] && a->ip[3] == b->ip[3] &&
	       a->port == b->port && a->protocol == b->protocol;
}

/* Replaces a service by one of its backends, each as likely as any other. */
static __always_inline enum verdict choose(const struct address *service, struct address *backend)
{
	struct service *s = bpf_map_lookup_elem(&services, service);
	if (!s) { /* port 0 is for all that have no entry at the address of a service */
		struct address rest = {.ip = {service->ip[0], service->ip[1], service->ip[2], service->ip[3]}};
		return bpf_map_lookup_elem(&services, &rest) ? REFUSE : PASS;
	}
	__u32 count = s->backends;
	if (!count)
		return REFUSE;
	struct slot slot = {.service = *service, .index = bpf_get_prandom_u32() % count};
	struct address *found = bpf_map_lookup_elem(&slots, &slot);
	if (!found) { /* the service is losing backends right now; the first slot is the last to go */
		slot.index = 0;
		found = bpf_map_lookup_elem(&slots, &slot);
	}
	if (!found)
		return REFUSE;
	*backend = *found;
	return MOVE;
}

/* The error that a closed port gives, and not EPERM, which programs take for a matter of permissions and do not try again. */
static __always_inline int refuse(void)
{
	bpf_set_retval(-ECONNREFUSED);
	return 0;
}

/* Without memory for it, the connection works and getpeername tells the backend. */
static __always_inline void remember_peer(struct bpf_sock_addr *ctx, const struct address *service, const struct address *backend)
{
	struct peer *p = bpf_sk_storage_get(&peers, (void *)ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!p)
		return;
	p->service = *service;
	p->backend = *backend;
}

static __always_inline void remember_flow(struct bpf_sock_addr *ctx, const struct address *service, const struct address *backend)
{
	struct flow flow = {.cookie = bpf_get_socket_cookie(ctx), .backend = *backend};
	bpf_map_update_elem(&flows, &flow, service, BPF_ANY);
}

/* The service that from stands for on this socket. A socket that was connected anew has another backend, or none. */
static __always_inline int service_of(struct bpf_sock_addr *ctx, const struct address *from, struct address *service)
{
	struct peer *p = bpf_sk_storage_get(&peers, (void *)ctx->sk, NULL, 0);
	if (p && same(&p->backend, from)) {
		*service = p->service;
		return 1;
	}
	if (from->protocol != IPPROTO_UDP)
		return 0;
	struct flow flow = {.cookie = bpf_get_socket_cookie(ctx), .backend = *from};
	struct address *found = bpf_map_lookup_elem(&flows, &flow);
	if (!found)
		return 0;
	*service = *found;
	return 1;
}

/* connect(2), and send to an address: to the backend. */
#define FORWARD(name, family, remember)                                   \
	SEC("cgroup/" #name)                                              \
	int name(struct bpf_sock_addr *ctx)                               \
	{                                                                 \
		struct address service = address##family(ctx), backend;   \
		switch (choose(&service, &backend)) {                     \
		case PASS:                                                \
			return 1;                                         \
		case REFUSE:                                              \
			return refuse();                                  \
		case MOVE:                                                \
			remember(ctx, &service, &backend);                \
			rewrite##family(ctx, &backend);                   \
		}                                                         \
		return 1;                                                 \
	}

/* getpeername(2), and where a datagram came from: the service. These programs must return 1. */
#define REVERSE(name, family)                                             \
	SEC("cgroup/" #name)                                              \
	int name(struct bpf_sock_addr *ctx)                               \
	{                                                                 \
		struct address from = address##family(ctx), service;      \
		if (service_of(ctx, &from, &service))                     \
			rewrite##family(ctx, &service);                   \
		return 1;                                                 \
	}

FORWARD(connect4, 4, remember_peer)
FORWARD(connect6, 6, remember_peer)
FORWARD(sendmsg4, 4, remember_flow)
FORWARD(sendmsg6, 6, remember_flow)
REVERSE(recvmsg4, 4)
REVERSE(recvmsg6, 6)
REVERSE(getpeername4, 4)
REVERSE(getpeername6, 6)

char terms[] SEC("license") = "Apache-2.0"; /* no helper here asks for the GPL */
