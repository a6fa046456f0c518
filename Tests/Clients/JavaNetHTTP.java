import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Prints the lines of a stream to its end: JavaNetHTTP URL TOKEN. Its time-out of 5 s counts only until the head. */
final class JavaNetHTTP {
    public static void main(String[] arguments) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
            .timeout(Duration.ofSeconds(5)).header("Authorization", "Bearer " + arguments[1]).build();
        HttpResponse<java.util.stream.Stream<String>> response =
            HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofLines());
        response.body().forEach(System.out::println);
    }
}
