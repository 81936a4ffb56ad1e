package local

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"fmt"
	"sync"
)

func TestDbg(t *testing.T) {
	b := newBed(t)
	endpoint := b.serve(b.request("f-1"))
	for name, c := range map[string]*http.Client{"h1": {Transport: &http.Transport{}}, "h2": b.h2c()} {
		counts := map[string]int{}
		var mu sync.Mutex
		for range 300 {
			req := b.newRequest(http.MethodPost, endpoint+"/reject", bytes.NewReader(make([]byte, 1<<20)))
			resp, err := c.Do(req)
			k := fmt.Sprint(err)
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				k = resp.Status
			}
			mu.Lock()
			counts[k]++
			mu.Unlock()
		}
		t.Log(name, counts)
		t.Log(b.log())
	}
}
