package pull

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// connect opens the file where it has to be gone on with, however often that takes.
func (r *Reader) connect() error {
	for {
		t := r.try()
		if t == nil {
			return nil
		}
		r.drop()
		if err := r.pause(t); err != nil {
			return err
		}
	}
}

// pause waits before the next try, or says why there is none.
func (r *Reader) pause(t *trouble) error {
	if err := r.ctx.Err(); err != nil {
		return fmt.Errorf("pull %s: %w", r.source, err)
	}
	if r.failures++; !t.passing {
		return fmt.Errorf("pull %s: %w", r.source, t)
	}
	if r.failures >= maxFailures {
		return fmt.Errorf("pull %s: given up after %d tries: %w", r.source, r.failures, t)
	}
	wait := max(min(r.client.Timeouts.FirstPause<<(r.failures-1), maxPause), t.after)
	if err := r.progress(fmt.Sprintf("%s; try %d of %d in %s", t.reason, r.failures+1, maxFailures, wait)); err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
		return fmt.Errorf("pull %s: %w", r.source, r.ctx.Err())
	case <-timer.C:
		return nil
	}
}

func (r *Reader) progress(waiting string) error {
	r.told, r.toldAt = r.at, time.Now()
	if err := r.tell(Progress{Bytes: r.at, TotalBytes: max(r.total, 0), Waiting: waiting}); err != nil {
		return fmt.Errorf("pull %s: tell how far it is: %w", r.source, err)
	}
	return nil
}

// try makes one request, and more where the source has to be resolved or wants a token.
func (r *Reader) try() *trouble {
	if r.from == nil {
		from, t := r.auth.resolve(r.ctx, r.source)
		if t != nil {
			return t
		}
		r.from, r.total = from, from.size
		if err := r.tell(Progress{TotalBytes: r.total}); err != nil {
			return &trouble{class: err, reason: "while it was told how large the release is"}
		}
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	response, err := r.request(ctx)
	if err != nil {
		cancel(nil)
		return r.client.connectionTrouble(err)
	}
	r.body = &body{ctx: ctx, cancel: cancel, from: response.Body, stall: r.client.Timeouts.Stall, left: r.client.Timeouts.Stall}
	return r.begin(response)
}

// request asks for the rest of the file.
func (r *Reader) request(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.from.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "cyvive")
	if r.at > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.at))
		if r.validator != "" {
			request.Header.Set("If-Range", r.validator)
		}
	}
	return r.auth.do(r.client.http, request)
}
