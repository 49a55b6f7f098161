package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cyvive/cyvive/internal/pki"
)

// The calls of etcd's API that leaving takes, with the numbers of the fields that are read of their messages (etcd 3.6,
// api/etcdserverpb/rpc.proto).
const (
	memberListMethod   = "/etcdserverpb.Cluster/MemberList"
	memberRemoveMethod = "/etcdserverpb.Cluster/MemberRemove"

	listHeader       = 1 // ResponseHeader header
	listMembers      = 2 // repeated Member members
	listLinearizable = 1 // bool linearizable, of the request
	headerMember     = 2 // uint64 member_id
	memberID         = 1 // uint64 ID
	removeID         = 1 // uint64 ID, of the request
)

// leaveTimeout is for one call.
const leaveTimeout = 30 * time.Second

// Leave has this node's member removed from its cluster, if there are others, who go on without it. It returns whether that was so. The member itself
// stops soon after. It is an error if the others cannot agree on it.
func Leave(ctx context.Context, ca *pki.Authority, now time.Time) (left bool, err error) {
	return leave(ctx, ca, now, ClientURL)
}

func leave(ctx context.Context, ca *pki.Authority, now time.Time, address string) (left bool, err error) {
	conn, err := dial(ca, now, address)
	if err != nil {
		return false, fmt.Errorf("leave etcd: %w", err)
	}
	defer conn.Close()
	request := protowire.AppendVarint(protowire.AppendTag(nil, listLinearizable, protowire.VarintType), 1)
	answer, err := call(ctx, conn, memberListMethod, request)
	if err != nil {
		return false, fmt.Errorf("leave etcd: list members: %w", err)
	}
	own, members, err := parseMembers(answer)
	switch {
	case err != nil:
		return false, fmt.Errorf("leave etcd: list members: %w", err)
	case len(members) < 2:
		return false, nil
	}
	request = protowire.AppendVarint(protowire.AppendTag(nil, removeID, protowire.VarintType), own)
	if _, err := call(ctx, conn, memberRemoveMethod, request); err != nil {
		return false, fmt.Errorf("leave etcd: remove member %x of %d: %w", own, len(members), err)
	}
	return true, nil
}

// dial makes a connection with a certificate that never leaves memory.
func dial(ca *pki.Authority, now time.Time, address string) (*grpc.ClientConn, error) {
	pair, err := ca.Issue(pki.Request{CommonName: "machined", Client: true, Lifetime: probeLifetime}, now)
	if err != nil {
		return nil, err
	}
	certificate, err := pair.TLS()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(), Certificates: []tls.Certificate{certificate}, ServerName: u.Hostname(),
	})))
}

func call(ctx context.Context, conn *grpc.ClientConn, method string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	var answer []byte
	err := conn.Invoke(ctx, method, request, &answer, grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(maxMembersBytes))
	return answer, err
}

// maxMembersBytes bounds the list of members.
const maxMembersBytes = 1 << 20

// raw leaves messages as they are.
type raw struct{}

// Name implements encoding.Codec.
func (raw) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (raw) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("marshal %T", v)
	}
	return b, nil
}

// Unmarshal implements encoding.Codec.
func (raw) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal %T", v)
	}
	*b = append([]byte(nil), data...)
	return nil
}

// parseMembers reads a list of members: which one answered, and the IDs of all.
func parseMembers(data []byte) (own uint64, members []uint64, err error) {
	err = eachField(data, func(number protowire.Number, _ uint64, message []byte) error {
		switch number {
		case listHeader:
			return eachField(message, func(n protowire.Number, value uint64, _ []byte) error {
				if n == headerMember {
					own = value
				}
				return nil
			})
		case listMembers:
			var id uint64
			err := eachField(message, func(n protowire.Number, value uint64, _ []byte) error {
				if n == memberID {
					id = value
				}
				return nil
			})
			members = append(members, id)
			return err
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, nil, err
	case len(members) == 0 || own == 0:
		return 0, nil, errors.New("the answer names no members, or not the one that answers")
	}
	return own, members, nil
}

// eachField calls do for the fields of a message: with the value of a number, or the bytes of what has a length.
func eachField(data []byte, do func(number protowire.Number, value uint64, message []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var value uint64
		var message []byte
		switch kind {
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			message, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := do(number, value, message); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
