package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cyvive/cyvive/internal/pki"
)

// members is the answer to MemberList by the member own.
func members(own uint64, all ...uint64) []byte {
	header := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 77) // cluster_id
	header = protowire.AppendVarint(protowire.AppendTag(header, headerMember, protowire.VarintType), own)
	out := protowire.AppendBytes(protowire.AppendTag(nil, listHeader, protowire.BytesType), header)
	for _, id := range all {
		m := protowire.AppendVarint(protowire.AppendTag(nil, memberID, protowire.VarintType), id)
		m = protowire.AppendString(protowire.AppendTag(m, 2, protowire.BytesType), "node")
		out = protowire.AppendBytes(protowire.AppendTag(out, listMembers, protowire.BytesType), m)
	}
	return out
}

// fakeEtcd answers with lists, and to removals with an error or none, on a port of its own. Calls come out of it.
func fakeEtcd(t *testing.T, ca *pki.Authority, list []byte, remove error) (address string, calls chan string) {
	t.Helper()
	pair, err := ca.Issue(pki.Request{CommonName: "node1", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Server: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	calls = make(chan string, 10)
	s := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})),
		grpc.ForceServerCodec(raw{}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			var request []byte
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			calls <- method + " " + strings.ToLower(string(request))
			switch {
			case method == memberListMethod:
				return stream.SendMsg(list)
			case remove != nil:
				return remove
			}
			return stream.SendMsg([]byte{})
		}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return "https://" + l.Addr().String(), calls
}

func TestLeave(t *testing.T) {
	ca, err := pki.NewAuthority("etcd", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		list   []byte
		remove error
		left   bool
		text   string
		calls  []string
	}{
		"the only one":  {members(5, 5), nil, false, "", []string{memberListMethod}},
		"one of three":  {members(5, 4, 5, 6), nil, true, "", []string{memberListMethod, memberRemoveMethod + " \x08\x05"}},
		"no quorum":     {members(5, 4, 5), status.Error(codes.Unavailable, "etcdserver: unhealthy cluster"), false, "remove member 5 of 2: rpc error: code = Unavailable desc = etcdserver: unhealthy cluster", []string{memberListMethod, memberRemoveMethod}},
		"no header":     {members(0, 4, 5), nil, false, "names no members, or not the one that answers", []string{memberListMethod}},
		"nothing":       {nil, nil, false, "names no members", []string{memberListMethod}},
		"not a message": {[]byte{0x0A, 0x7F}, nil, false, "list members: ", []string{memberListMethod}},
	} {
		address, calls := fakeEtcd(t, ca, test.list, test.remove)
		left, err := leave(t.Context(), ca, time.Now(), address)
		if left != test.left || (err == nil) != (test.text == "") || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: left %t, %v", name, left, err)
		}
		close(calls)
		i := 0
		for c := range calls {
			if i >= len(test.calls) || !strings.HasPrefix(c, test.calls[i]) {
				t.Errorf("%s: call %q", name, c)
			}
			i++
		}
		if i != len(test.calls) {
			t.Errorf("%s: %d calls, want %q", name, i, test.calls)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := leave(ctx, ca, time.Now(), "https://127.0.0.1:1"); err == nil {
		t.Error("a member that is not there was left")
	}
	other, err := pki.NewAuthority("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	address, _ := fakeEtcd(t, other, members(5, 5), nil)
	if _, err := leave(ctx, ca, time.Now(), address); err == nil || !strings.Contains(err.Error(), x509.UnknownAuthorityError{}.Error()) {
		t.Errorf("a member of another authority: %v", err)
	}
}

// FuzzParseMembers reads anything as a list of members.
func FuzzParseMembers(f *testing.F) {
	f.Add(members(5, 4, 5, 6))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		own, all, err := parseMembers(data)
		if err != nil {
			return
		}
		again, same, err := parseMembers(members(own, all...))
		if err != nil || again != own || !slices.Equal(same, all) {
			t.Errorf("member %d of %v became %d of %v, %v", own, all, again, same, err)
		}
	})
}
