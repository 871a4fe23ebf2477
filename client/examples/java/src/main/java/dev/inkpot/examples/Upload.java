package dev.inkpot.examples;

import com.google.protobuf.ByteString;
import dev.inkpot.v1.Ack;
import dev.inkpot.v1.Finish;
import dev.inkpot.v1.FinishAction;
import dev.inkpot.v1.Mode;
import dev.inkpot.v1.Open;
import dev.inkpot.v1.Opened;
import dev.inkpot.v1.Payload;
import dev.inkpot.v1.WriteRequest;
import dev.inkpot.v1.WriteResponse;
import dev.inkpot.v1.WriteServiceGrpc;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.zip.CRC32C;
import java.util.zip.CheckedInputStream;

/**
 * Uploads a local file to Inkpot, where it appears as a whole: before the end nobody sees any of it. However often this
 * program or the server dies, it goes on where it was.
 * Arguments: ENDPOINT PATH PRODUCER FILE, for example 127.0.0.1:7411 exports/july.csv export-7 july.csv
 */
public final class Upload {
  private Upload() {}

  public static void main(String[] args) throws Exception {
    WriteServiceGrpc.WriteServiceStub service =
        WriteServiceGrpc.newStub(Connection.open(args[0])).withWaitForReady();
    Path path = Path.of(args[3]);
    CheckedInputStream checked = new CheckedInputStream(Files.newInputStream(path), new CRC32C());
    long size = checked.transferTo(OutputStream.nullOutputStream());
    int crc32c = (int) checked.getChecksum().getValue();
    FileChannel file = FileChannel.open(path);
    while (true) {
      try {
        Session session = new Session(file, size, crc32c);
        service.write(session);
        session.open(args[1], args[2]);
        session.done.get();
        System.exit(0);
      } catch (ExecutionException error) {
        Connection.pauseOrExit(error.getCause());
      }
    }
  }

  /** One session: sends what the server does not have yet. */
  private static final class Session implements ClientResponseObserver<WriteRequest, WriteResponse> {
    /** Ends when the file is published, or with the error that ended the session early. */
    final CompletableFuture<Void> done = new CompletableFuture<>();

    private final FileChannel file;
    private final long size;
    private final int crc32c;
    private ClientCallStreamObserver<WriteRequest> requests;
    private ByteBuffer chunk;
    private boolean isFinished;
    private long offset;
    private long lastSeq;

    Session(FileChannel file, long size, int crc32c) {
      this.file = file;
      this.size = size;
      this.crc32c = crc32c;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<WriteRequest> requests) {
      this.requests = requests;
      requests.setOnReadyHandler(this::send);
    }

    void open(String path, String producer) {
      // The producer is the name of the upload, and with its epoch that of the content: a file that has changed is
      // another upload, and needs another producer. REPLACE would take the place of a file that is there already.
      Open.Builder open = Open.newBuilder().setChannel(1).setPath(path).setMode(Mode.MODE_CREATE);
      open.setProducerId(producer).setProducerEpoch(1);
      requests.onNext(WriteRequest.newBuilder().setOpen(open).build());
    }

    /** Sends as many chunks as the server reads now; called again when it reads more. */
    private void send() {
      while (chunk != null && offset < size && requests.isReady()) {
        Payload.Builder payload = Payload.newBuilder().setData(readChunk());
        offset += payload.getData().size();
        lastSeq++;
        WriteRequest.Builder request = WriteRequest.newBuilder();
        request.getAppendBuilder().setChannel(1).setSeq(lastSeq).setPayload(payload);
        requests.onNext(request.build());
      }
      if (chunk != null && offset >= size && !isFinished) {
        isFinished = true;
        // The server compares size and checksum before it publishes; of an upload that is published already this asks
        // only whether it is.
        Finish.Builder finish =
            Finish.newBuilder().setChannel(1).setAction(FinishAction.FINISH_ACTION_COMMIT);
        finish.setSize(size).setCrc32C(crc32c);
        requests.onNext(WriteRequest.newBuilder().setFinish(finish).build());
        requests.onCompleted();
      }
    }

    private ByteString readChunk() {
      try {
        file.read(chunk.clear(), offset);
        return ByteString.copyFrom(chunk.flip());
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }

    @Override
    public void onNext(WriteResponse response) {
      switch (response.getFrameCase()) {
        case OPENED -> {
          Opened opened = response.getOpened();
          offset = opened.getNextOffset();
          lastSeq = opened.getLastSeq();
          chunk = ByteBuffer.allocate((int) opened.getLimits().getMaxRecordBytes());
          System.out.printf("opened at byte %d%n", offset);
          send();
        }
        case ACK -> { // kept from now on; cumulative
          Ack ack = response.getAck();
          System.out.printf("acked to byte %d, %s%n", ack.getEndOffset(), ack.getLevel());
        }
        case NACK -> {
          done.completeExceptionally(StatusProto.toStatusRuntimeException(response.getNack().getStatus()));
          requests.cancel("refused", null);
        }
        case FINISHED -> System.out.printf("published %d bytes%n", response.getFinished().getSize());
        default -> {}
      }
    }

    @Override
    public void onError(Throwable error) {
      done.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      done.complete(null);
    }
  }
}
