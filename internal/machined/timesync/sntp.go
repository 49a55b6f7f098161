package timesync

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/beevik/ntp"
)

// maxDistance is how wrong an answer may be and still serve; RFC 5905 has 1.5 s (MAXDIST).
const maxDistance = 1500 * time.Millisecond

// SNTP is the Query of real servers, on UDP port 123 unless the server has another.
func SNTP(ctx context.Context, server string) (Sample, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(queryTimeout)
	}
	response, err := ntp.QueryWithOptions(server, ntp.QueryOptions{Timeout: max(time.Until(deadline), time.Millisecond)})
	if err != nil {
		return Sample{}, sntpError(err)
	}
	switch {
	case response.IsKissOfDeath():
		return Sample{}, errors.New("it asks to be left alone")
	case response.Validate() != nil:
		return Sample{}, errors.New("it does not know the time itself")
	case response.RootDistance > maxDistance:
		return Sample{}, errors.New("it is too far from the time to be of use")
	}
	return Sample{Server: server, Offset: response.ClockOffset, Distance: response.RootDistance}, nil
}

// sntpError says what became of a question, in words without ports of this machine, which differ each time.
func sntpError(err error) error {
	var dns *net.DNSError
	var call *os.SyscallError
	switch {
	case errors.As(err, &dns):
		return errors.New("the name cannot be looked up")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer")
	case errors.As(err, &call):
		return call.Err
	}
	return errors.New("the answer is no NTP")
}
