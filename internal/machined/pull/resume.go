package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// begin takes the head of an answer: a whole file at first, and then the rest of the same one.
func (r *Reader) begin(response *http.Response) *trouble {
	status := response.StatusCode
	switch {
	case status == http.StatusRequestedRangeNotSatisfiable && r.at > 0:
		return troublef(ErrServer, "it says now that the file ends before byte %d", r.at)
	case status != http.StatusOK && (status != http.StatusPartialContent || r.at == 0):
		return statusTrouble(response)
	case response.Header.Get("Content-Encoding") != "":
		return troublef(ErrServer, "it sends the file encoded as %.40q, which was not asked for", response.Header.Get("Content-Encoding"))
	case r.at == 0:
		return r.beginWhole(response)
	case status == http.StatusPartialContent:
		return r.beginRest(response)
	}
	// The server knows no ranges, or If-Range did not hold.
	if r.validator != "" && validatorOf(response.Header) != r.validator || r.total >= 0 && response.ContentLength >= 0 && response.ContentLength != r.total {
		return changed()
	}
	return r.skip()
}

func changed() *trouble {
	return troublef(ErrServer, "the file has changed while it was fetched; begin again")
}

func (r *Reader) beginWhole(response *http.Response) *trouble {
	if r.total >= 0 && response.ContentLength >= 0 && response.ContentLength != r.total {
		return troublef(ErrUnfit, "the file has %d bytes, and %d belong to the artifact", response.ContentLength, r.total)
	}
	if r.total < 0 {
		r.total = response.ContentLength
	}
	r.validator, r.contentType = validatorOf(response.Header), printable(response.Header.Get("Content-Type"))
	return nil
}

// beginRest wants the range that was asked for, of a file as large as before.
func (r *Reader) beginRest(response *http.Response) *trouble {
	from, total, ok := parseContentRange(response.Header.Get("Content-Range"))
	switch {
	case !ok || from != r.at:
		return troublef(ErrServer, "it was asked for the file from byte %d on, and sends %.60q", r.at, response.Header.Get("Content-Range"))
	case r.total >= 0 && total >= 0 && total != r.total, r.validator != "" && validatorOf(response.Header) != "" && validatorOf(response.Header) != r.validator:
		return changed()
	}
	return nil
}

// skip reads again what is there already, from a server that knows no ranges. It tells of it as Read does: it may be most of a release.
func (r *Reader) skip() *trouble {
	buffer := make([]byte, 32<<10)
	for left := r.at; left > 0; {
		n, err := r.body.read(buffer[:min(int64(len(buffer)), left)])
		if left -= int64(n); err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return r.client.connectionTrouble(err)
		}
		if left > 0 && time.Since(r.toldAt) >= r.client.Timeouts.Stall/2 {
			if err := r.progress(fmt.Sprintf("the server begins anew: of the %d bytes that are there already, %d have come again", r.at, r.at-left)); err != nil {
				return &trouble{class: err, reason: "amid bytes that are there already"}
			}
		}
	}
	return nil
}

// validatorOf is what tells one state of a file from another (RFC 9110 section 13.1.5): a strong ETag, or else the date of its last change.
func validatorOf(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// parseContentRange reads the field Content-Range (RFC 9110 section 14.4) of a file that goes to its end; total is -1 where it is not said.
func parseContentRange(text string) (from, total int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	span, whole, both := strings.Cut(text, "/")
	first, last, dashed := strings.Cut(span, "-")
	if !ok || !both || !dashed {
		return 0, 0, false
	}
	a, errA := strconv.ParseUint(first, 10, 63)
	b, errB := strconv.ParseUint(last, 10, 63)
	if errA != nil || errB != nil || a > b {
		return 0, 0, false
	}
	if whole == "*" {
		return int64(a), -1, true
	}
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || b >= n {
		return 0, 0, false
	}
	return int64(a), int64(n), true
}

// printable is a text of a server for an error of ours.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	return text[:min(len(text), 80)]
}

// body is an answer that has to bring stallBytes in a time. Only the time that is spent on waiting for it counts.
type body struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	from   io.ReadCloser
	stall  time.Duration
	// left is the time for the next stallBytes, of which got have come.
	left time.Duration
	got  int
}

func (b *body) read(p []byte) (int, error) {
	began := time.Now()
	timer := time.AfterFunc(max(b.left, time.Millisecond), func() { b.cancel(errStalled) })
	n, err := b.from.Read(p)
	timer.Stop()
	b.left -= time.Since(began)
	if b.got += n; b.got >= stallBytes {
		b.got, b.left = 0, b.stall
	}
	if err != nil && !errors.Is(err, io.EOF) && context.Cause(b.ctx) == errStalled {
		err = errStalled
	}
	return n, err
}

func (b *body) close() {
	b.cancel(nil)
	_ = b.from.Close() // nothing more is wanted of it
}
