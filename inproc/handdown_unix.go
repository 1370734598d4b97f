//go:build unix

package inproc

import (
	"errors"
	"io"
	"os"

	"aerie/internal/process"
)

// handDown passes the logs and the token to the process as descriptors, which
// the caller closes after the start.
func handDown(spec *process.Spec, log, access *os.File, token string) (err error) {
	spec.ExtraFiles, err = inheritable(log, access, token)
	return err
}

// inheritable are the descriptors in the order of proto.FDLog and the
// following: copies, so that all of them may be closed after the start.
func inheritable(log, access *os.File, token string) ([]*os.File, error) {
	var files []*os.File
	for _, f := range []*os.File{log, access} {
		c, err := os.OpenFile(f.Name(), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, errors.Join(err, closeFiles(files))
		}
		files = append(files, c)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, closeFiles(files))
	}
	_, err = io.WriteString(w, token+"\n")
	return append(files, r), errors.Join(err, w.Close())
}

func closeFiles(files []*os.File) error {
	var err error
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}
