import static java.util.concurrent.TimeUnit.SECONDS;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;

/** Prints the lines of a stream to its end: OkHttp URL TOKEN. A time-out is a SocketTimeoutException on standard error. */
final class OkHttp {
    public static void main(String[] arguments) throws Exception {
        OkHttpClient client = new OkHttpClient.Builder()/* setting */.build();
        Request request = new Request.Builder().url(arguments[0]).header("Authorization", "Bearer " + arguments[1]).build();
        try (Response response = client.newCall(request).execute()) {
            String line;
            while ((line = response.body().source().readUtf8Line()) != null) System.out.println(line);
        }
        System.exit(0);
    }
}
