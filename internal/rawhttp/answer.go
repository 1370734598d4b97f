package rawhttp

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
)

// maxPad bounds the pad parameter of Answer.
const maxPad = 1 << 20

// Answer is the handler that Load talks to. It reads the whole body and answers
// with the request's id in X-Id, its process in X-Pid, and a body of
//
//	<id> <length of the request body> <its sha256>\n
//
// and then as many bytes of the test pattern as the parameter pad says. A
// request whose parameter id and field X-Id differ was put together from two,
// and gets 400. Fields that tell versions apart (X-Generation, X-Version) are
// the caller's to set.
func Answer(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	id := query.Get("id")
	if err != nil || id != r.Header.Get("X-Id") {
		http.Error(w, fmt.Sprintf("id %q in the query, %q in the head", id, r.Header["X-Id"]), http.StatusBadRequest)
		return
	}
	pad, err := strconv.Atoi(query.Get("pad"))
	if query.Has("pad") && (err != nil || pad < 0 || pad > maxPad) {
		http.Error(w, "pad: not a number up to 1 MiB", http.StatusBadRequest)
		return
	}
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Id", id)
	w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
	w.Header().Set("Content-Type", "text/plain")
	if _, err := w.Write(answerBody(id, n, sum.Sum(nil), pad)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// answerBody is what Answer must answer.
func answerBody(id string, n int64, sum []byte, pad int) []byte {
	b := fmt.Appendf(nil, "%s %d %x\n", id, n, sum)
	head := len(b)
	b = append(b, make([]byte, pad)...)
	Pattern(b[head:], 0)
	return b
}
