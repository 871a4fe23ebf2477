package dev.inkpot.examples;

import com.google.protobuf.ByteString;
import dev.inkpot.v1.Ack;
import dev.inkpot.v1.Finish;
import dev.inkpot.v1.FinishAction;
import dev.inkpot.v1.Open;
import dev.inkpot.v1.Payload;
import dev.inkpot.v1.WriteRequest;
import dev.inkpot.v1.WriteResponse;
import dev.inkpot.v1.WriteServiceGrpc;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.stream.Stream;

/**
 * Appends the lines of a text to a file of Inkpot, each exactly once, however often this program or the server dies.
 * Arguments: ENDPOINT PATH PRODUCER TEXT, for example 127.0.0.1:7411 logs/app.log app-7 app.log
 */
public final class Append {
  private Append() {}

  public static void main(String[] args) throws Exception {
    WriteServiceGrpc.WriteServiceStub service =
        WriteServiceGrpc.newStub(Connection.open(args[0])).withWaitForReady();
    List<ByteString> lines = readLines(Path.of(args[3]));
    while (true) {
      try {
        Session session = new Session(lines);
        service.write(session);
        session.open(args[1], args[2]);
        session.done.get();
        System.exit(0);
      } catch (ExecutionException error) {
        Connection.pauseOrExit(error.getCause());
      }
    }
  }

  private static List<ByteString> readLines(Path text) throws Exception {
    String all = Files.readString(text, StandardCharsets.ISO_8859_1); // a character per byte
    return Stream.of(all.split("(?<=\n)"))
        .filter(line -> !line.isEmpty())
        .map(line -> ByteString.copyFrom(line, StandardCharsets.ISO_8859_1))
        .toList();
  }

  /** One session: appends what the file does not have yet. */
  private static final class Session implements ClientResponseObserver<WriteRequest, WriteResponse> {
    /** Ends when all is acked, or with the error that ended the session early. */
    final CompletableFuture<Void> done = new CompletableFuture<>();

    private final List<ByteString> lines;
    private ClientCallStreamObserver<WriteRequest> requests;
    private boolean isOpen;
    private boolean isFinished;
    private long lastSeq;

    Session(List<ByteString> lines) {
      this.lines = lines;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<WriteRequest> requests) {
      this.requests = requests;
      requests.setOnReadyHandler(this::send);
    }

    void open(String path, String producer) {
      // Line n is seq n, in every life of this program: seqs are counted per epoch, so the epoch stays 1. A later Open
      // with the same epoch takes over from this one; a higher epoch would be for a text that begins anew.
      Open.Builder open =
          Open.newBuilder().setChannel(1).setPath(path).setProducerId(producer).setProducerEpoch(1);
      requests.onNext(WriteRequest.newBuilder().setOpen(open).build());
    }

    /** Sends as many lines as the server reads now; called again when it reads more. */
    private void send() {
      while (isOpen && lastSeq < lines.size() && requests.isReady()) {
        Payload.Builder payload = Payload.newBuilder().setData(lines.get((int) lastSeq));
        lastSeq++;
        WriteRequest.Builder request = WriteRequest.newBuilder();
        request.getAppendBuilder().setChannel(1).setSeq(lastSeq).setPayload(payload);
        requests.onNext(request.build());
      }
      if (isOpen && lastSeq == lines.size() && !isFinished) {
        isFinished = true;
        Finish.Builder finish =
            Finish.newBuilder().setChannel(1).setAction(FinishAction.FINISH_ACTION_COMMIT);
        requests.onNext(WriteRequest.newBuilder().setFinish(finish).build());
        requests.onCompleted();
      }
    }

    @Override
    public void onNext(WriteResponse response) {
      switch (response.getFrameCase()) {
        case OPENED -> {
          lastSeq = response.getOpened().getLastSeq();
          isOpen = true;
          System.out.printf("opened after line %d%n", lastSeq);
          send();
        }
        case ACK -> { // cumulative: it covers every line up to this one
          Ack ack = response.getAck();
          System.out.printf(
              "acked through line %d: bytes %d to %d, %s%n",
              ack.getThroughSeq(), ack.getFirstOffset(), ack.getEndOffset(), ack.getLevel());
        }
        case NACK -> {
          done.completeExceptionally(StatusProto.toStatusRuntimeException(response.getNack().getStatus()));
          requests.cancel("refused", null);
        }
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
