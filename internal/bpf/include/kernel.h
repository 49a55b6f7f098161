/*
 * The part of the kernel's interface that the programs of this repository use: types, contexts, map types, helpers. It is declared here, and
 * not taken from the build machine's headers, so that the same source gives the same bytes everywhere. All of it is stable: a number once
 * given is never changed. Names and values are those of include/uapi/linux/bpf.h of Linux 6.12, where no other file is named.
 */
#ifndef CYVIVE_KERNEL_H
#define CYVIVE_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
/* In network byte order. */
typedef __u16 __be16;
typedef __u32 __be32;

#define NULL ((void *)0)
#define __always_inline inline __attribute__((always_inline))
#define SEC(name) __attribute__((section(name), used))
/* The programs are little endian. */
#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_htonl(x) ((__be32)__builtin_bswap32(x))

/* Fields of a map's definition in section .maps; the loader reads them out of the BTF (Documentation/bpf/libbpf, "BTF-defined maps"). */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) value *name

/* enum bpf_map_type */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_SK_STORAGE 24
#define BPF_MAP_TYPE_RINGBUF 27

/* Flags of BPF_MAP_CREATE. */
#define BPF_F_NO_PREALLOC (1U << 0)
/* Flags of bpf_map_update_elem. */
#define BPF_ANY 0
/* Flag of bpf_sk_storage_get. */
#define BPF_SK_STORAGE_GET_F_CREATE 1

/* include/uapi/linux/in.h */
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

/* include/uapi/asm-generic/errno-base.h and errno.h */
#define EPERM 1
#define ECONNREFUSED 111

struct bpf_sock;

/* Context of BPF_PROG_TYPE_CGROUP_SOCK_ADDR; addresses and user_port are in network byte order. */
struct bpf_sock_addr {
	__u32 user_family;
	__be32 user_ip4;
	__be32 user_ip6[4];
	__u32 user_port; /* the upper half is zero */
	__u32 family;
	__u32 type;
	__u32 protocol;
	__be32 msg_src_ip4;
	__be32 msg_src_ip6[4];
	__u64 sk __attribute__((aligned(8))); /* a struct bpf_sock * */
};

/* Helpers, by the numbers of ___BPF_FUNC_MAPPER. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static __u64 (*const bpf_get_socket_cookie)(void *context) = (void *)46;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;
static __u64 (*const bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;
/* For attach types whose result is an error number; the program must return 0 as well. Since Linux 5.18. */
static int (*const bpf_set_retval)(int retval) = (void *)187;

#endif
